"""Faults that a learner makes in chapter 02."""

MUTANTS = {
    "02.waste": [
        ("always one page more", "[-(-tokens // page_size) for", "[tokens // page_size + 1 for"),
        ("rounded down", "[-(-tokens // page_size) for", "[tokens // page_size for"),
        ("an overflow goes unnoticed", "if any(tokens > reservation for tokens in used):", "if False:"),
        ("a request that fills its reservation is refused", "tokens > reservation for", "tokens >= reservation for"),
        ("the bound of a whole page", "num_requests * (page_size - 1)", "num_requests * page_size"),
        ("what is used", "pages * page_size - tokens for", "tokens % page_size for"),
    ],
    "02.page_size": [
        ("tables cost nothing", " + sum(pages) * ENTRY_BYTES", ""),
        ("slots for bytes", "empty * token_bytes", "empty"),
        ("one table for all", "sum(pages) * ENTRY_BYTES", "max(pages, default=0) * ENTRY_BYTES"),
        ("the smallest of equals", ", -size))", ", size))"),
        (
            "the first of equals",
            "(overhead(lengths, size, token_bytes), -size)",
            "overhead(lengths, size, token_bytes)",
        ),
        ("the worst", "return min(candidates", "return max(candidates"),
    ],
    "02.first_fit": [
        (
            "the last gap is not seen",
            "[*sorted(self.runs.values()), (self.num_slots, 0)]",
            "sorted(self.runs.values())",
        ),
        ("in the order of arrival", "*sorted(self.runs.values())", "*self.runs.values()"),
        ("a gap that fits exactly is refused", "if length >= num_slots:", "if length > num_slots:"),
        ("the last gap that fits", "for start, length in self.gaps():", "for start, length in reversed(self.gaps()):"),
        ("it takes the whole gap", "(start, num_slots)", "(start, length)"),
        ("what is free", "1 - max(lengths) / sum(lengths)", "1 - sum(lengths) / self.num_slots"),
        ("the number of gaps", "1 - max(lengths) / sum(lengths)", "1 - 1 / len(lengths)"),
    ],
    "02.compaction": [
        ("everything is moved", "moved += length if start != at else 0", "moved += length"),
        ("runs are counted", "moved += length if", "moved += 1 if"),
        ("in the order of the names", "sorted(runs.items(), key=lambda run: run[1])", "runs.items()"),
        ("a gap stays", "at += length", "at = start + length"),
        (
            "it pays off at any price",
            "return moved < saved_steps * slots_a_step",
            "return moved <= saved_steps * slots_a_step",
        ),
        ("what was given is changed", "packed, moved, at = {}, 0, 0", "packed, moved, at = runs, 0, 0"),
    ],
}
