"""Faults that a learner makes in chapter 04."""

MUTANTS = {
    "04.gather": [
        ("the table is not used", "kv[:, pages]", "kv[:, : len(pages)]"),
        ("the last page is taken whole", "[:, :length]", ""),
        ("keys twice", "return rows[0], rows[1]", "return rows[0], rows[0]"),
        ("in the order of memory", "kv[:, pages]", "kv[:, sorted(pages)]"),
        ("one token short", "[:, :length]", "[:, : length - 1]"),
    ],
    "04.online_softmax": [
        ("what was summed is not rescaled", "acc * shrink + weight * value", "acc + weight * value"),
        ("the total is not rescaled", "total * shrink + weight,", "total + weight,"),
        ("nothing is subtracted", "math.exp(score - largest)", "math.exp(score)"),
        ("masked values are weighed with 0", "        if score == -math.inf:\n            continue\n", ""),
        ("a maximum of 0 to begin with", "largest, total, acc = -math.inf", "largest, total, acc = 0.0"),
        ("not divided", "return acc / total if total else acc", "return acc"),
        ("zero by zero", "return acc / total if total else acc", "return acc / total"),
    ],
    "04.merge": [
        ("a plain mean", "math.exp(lse - top)) for", "1.0) for"),
        (
            "an unsafe merge",
            "top = max(lse for _, lse in parts)",
            "top = 0.0 if max(lse for _, lse in parts) > -math.inf else -math.inf",
        ),
        ("an empty part is weighed with 0", " if lse > -math.inf]", "]"),
        ("the largest lse is handed on", "top + math.log(total)", "top"),
        ("shares that do not add up to one", "(share / total) * out", "share * out"),
        ("all empty", "    if top == -math.inf:\n        return torch.zeros_like(parts[0][0]), -math.inf\n", ""),
    ],
    "04.paged_attention": [
        ("the table is not used", "kv[:, pages[logical], :, :filled]", "kv[:, logical, :, :filled]"),
        ("poison is read", "filled = min(size, length - first)", "filled = size"),
        (
            "no mask",
            "hidden = torch.arange(first, first + filled) > position[:, None]",
            "hidden = torch.zeros(rows, filled, dtype=torch.bool)",
        ),
        ("a token does not see itself", "> position[:, None]", ">= position[:, None]"),
        ("rows stand at the beginning", "torch.arange(length - rows, length)", "torch.arange(rows)"),
        ("no scale", "(scale * q)", "q"),
        ("no rescaling", "acc = acc * shrink[..., None] + ", "acc = acc + "),
        (
            "heads interleaved",
            "queries = (scale * q).reshape(rows, kv_heads, heads // kv_heads, dim)",
            "queries = (scale * q).reshape(rows, heads // kv_heads, kv_heads, dim).transpose(1, 2)",
        ),
        ("one page too many", "range(-(-length // size))", "range(len(pages))"),
    ],
    "04.window": [
        (
            "a window that is one too long",
            "max(0, position - window + 1) // page_size",
            "max(0, position - window) // page_size",
        ),
        (
            "pages rounded up",
            "max(0, position - window + 1) // page_size",
            "-(-max(0, position - window + 1) // page_size)",
        ),
        (
            "all that came before is seen",
            "torch.arange(max(0, position - window + 1), position + 1)",
            "torch.arange(position + 1)",
        ),
        ("it does not see itself", "window + 1), position + 1)", "window + 1), position)"),
        ("it sees what is not there yet", "window + 1), position + 1)", "window + 1), position + 2)"),
        ("no scale", "(scale * (keys @ query))", "(keys @ query)"),
    ],
}
