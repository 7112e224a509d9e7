"""Faults that a learner makes in chapter 05."""

MUTANTS = {
    "05.tile": [
        ("every program the same rows", "tl.program_id(0) * ROWS + tl.arange(0, ROWS)", "tl.arange(0, ROWS)"),
        ("rows without a gap", "rows[:, None] * row_stride", "rows[:, None] * num_columns"),
        (
            "the load is not masked at the right",
            "(rows[:, None] < num_rows) & (columns[None, :] < num_columns)",
            "(rows[:, None] < num_rows) & (columns[None, :] < COLUMNS)",
        ),
        ("no mask for the store", "tile, mask=there)", "tile)"),
        ("one program, one row", "tl.program_id(0) * ROWS", "tl.program_id(0)"),
    ],
    "05.write_kv": [
        ("padding is written", "if slot >= 0:", "if slot >= -1:"),
        ("page and offset swapped", "page, offset = slot // P, slot % P", "page, offset = slot % P, slot // P"),
        ("one head", "for head in range(HEADS):", "for head in range(1):"),
        ("heads of the source swapped with tokens", "(token * HEADS + head) * D + d", "(head * HEADS + token) * D + d"),
        ("keys for values", "tl.load(value_ptr + source)", "tl.load(key_ptr + source)"),
        ("slots before heads", "((page * HEADS + head) * P + offset) * D", "((page * P + offset) * HEADS + head) * D"),
    ],
    "05.decode": [
        ("no table", "page = tl.load(tables_ptr + b * table_width + logical)", "page = logical"),
        ("everybody the first table", "tables_ptr + b * table_width + logical", "tables_ptr + logical"),
        (
            "poison weighed with 0",
            "values = tl.load(kv_ptr + num_pages * HEADS * P * D + tile, mask=there[:, None], other=0.0)",
            "values = tl.load(kv_ptr + num_pages * HEADS * P * D + tile)",
        ),
        (
            "slots past the end count",
            'scores = tl.where(there[None, :], scores, float("-inf"))',
            "scores = scores + 0.0",
        ),
        ("no rescaling", "acc = acc * shrink[:, None] + ", "acc = acc + "),
        ("nothing is subtracted", "tl.exp(scores - top[:, None])", "tl.exp(scores)"),
        ("no scale", "scores = scale * tl.sum", "scores = tl.sum"),
        ("one head for all", "((page * HEADS + head) * P + slot)", "(page * HEADS * P + slot)"),
        ("keys for values", "kv_ptr + num_pages * HEADS * P * D + tile", "kv_ptr + tile"),
    ],
    "05.merge_splits": [
        ("a plain mean", "weights = tl.exp(lse - tl.max(lse, 0))", "weights = tl.where(lse > float('-inf'), 1.0, 0.0)"),
        ("unsafe", "tl.exp(lse - tl.max(lse, 0))", "tl.exp(lse)"),
        ("nan of empty splits", "mask=counts[:, None], other=0.0)", "mask=(s < num_splits)[:, None], other=0.0)"),
        (
            "lanes that are not there weigh as much as e^0",
            'other=float("-inf"))\n    weights',
            "other=0.0)\n    weights",
        ),
        ("every row the first", "parts_ptr + (row * num_splits + s)[:, None] * D", "parts_ptr + s[:, None] * D"),
        ("not divided", " / tl.sum(weights, 0)", ""),
    ],
    "05.splits": [
        ("one wave", "processors * waves //", "processors //"),
        ("heads do not count", "(sequences * kv_heads)", "sequences"),
        ("tiny splits", "possible = pages // least", "possible = pages"),
        ("no split at all", "return max(1, min(wanted, possible))", "return min(wanted, possible)"),
        ("the last split has the rest", "start = split * share + min(split, more)", "start = split * share"),
        ("the last ones are larger", "(split < more)", "(split >= splits - more)"),
    ],
}
