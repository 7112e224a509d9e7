"""Faults that a learner makes in chapter 01."""

MUTANTS = {
    "01.token_bytes": [
        ("only keys", "num_layers * 2 * num", "num_layers * num"),
        ("bits for bytes", "bits // 8", "bits"),
        ("whole bytes only", "head_dim * bits // 8", "head_dim * (bits // 8)"),
        ("one layer", "return num_layers * 2", "return 2"),
        ("the wrong way round", "num_query_heads // num_kv_heads", "num_kv_heads / num_query_heads"),
    ],
    "01.pool_pages": [
        ("all memory", "int(memory_bytes * utilisation)", "memory_bytes"),
        ("nothing for the step", " - step_bytes)", ")"),
        ("rounded up", "step_bytes) // page_bytes", "step_bytes + page_bytes - 1) // page_bytes"),
        (
            "a share of what is left",
            "(int(memory_bytes * utilisation) - weight_bytes - step_bytes)",
            "int((memory_bytes - weight_bytes - step_bytes) * utilisation)",
        ),
        ("a pool without pages", "if pages < 1:", "if pages < 0:"),
    ],
    "01.concurrency": [
        (
            "rounded once, at the end",
            "return num_pages // -(-tokens_each // page_size)",
            "return num_pages * page_size // tokens_each",
        ),
        (
            "a page too few",
            "return num_pages // -(-tokens_each // page_size)",
            "return num_pages // max(1, tokens_each // page_size)",
        ),
        (
            "no whole pages",
            "users * -(-tokens_each // page_size) * page_size * token_bytes",
            "users * tokens_each * token_bytes",
        ),
        ("GB, not GiB", "/ 2**30", "/ 10**9"),
        ("rounded down to whole reservations", "/ reserved\n", "// reserved\n"),
        ("nobody before, nobody to compare with", "if reserved == 0:", "if reserved < 0:"),
    ],
    "01.planner": [
        ("the weights are forgotten", "max(0, self.memory - self.weights)", "self.memory"),
        ("fewer than no pages", "max(0, self.memory - self.weights)", "(self.memory - self.weights)"),
        (
            "tokens, not pages",
            "self.num_pages // -(-context // self.page_size)",
            "self.num_pages * self.page_size // context",
        ),
        ("shared pages", "self.num_pages // users * self.page_size", "self.num_pages * self.page_size // users"),
        ("exactly as large", "if self.weights >= cache", "if self.weights > cache"),
        ("one user", "cache = users * ", "cache = "),
    ],
}
