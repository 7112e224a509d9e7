"""Faults that a learner makes in chapter 06."""

MUTANTS = {
    "06.flops": [
        ("everybody sees everybody", "new * cached + new * (new + 1) // 2", "new * (cached + new)"),
        ("nobody sees itself", "new * (new + 1) // 2", "new * (new - 1) // 2"),
        ("a multiplication and an addition are one", "2 * weights * new", "weights * new"),
        ("keys only", "4 * num_layers", "2 * num_layers"),
        ("one head", "num_heads * head_dim", "head_dim"),
    ],
    "06.traffic": [
        ("weights for every sequence", "weight_bytes + sum(", "weight_bytes * len(chunks) + sum("),
        ("new tokens are only written", "cached + 2 * new for", "cached + new for"),
        ("the cache is not read", "cached + 2 * new for", "2 * new for"),
        ("bytes for each sequence", "token_bytes) / new", "token_bytes) / len(chunks)"),
        (
            "nothing, for nobody",
            '        raise ValueError("a step without new tokens moves bytes for nobody")\n',
            "        return 0.0\n",
        ),
    ],
    "06.roofline": [
        ("the higher limit", "min(peak, intensity * bandwidth)", "max(peak, intensity * bandwidth)"),
        ("bytes per operation", "operations / moved >=", "moved / operations >="),
        ("at the ridge", ">= peak / bandwidth", "> peak / bandwidth"),
        ("one after the other", "max(operations / peak, moved / bandwidth)", "operations / peak + moved / bandwidth"),
        ("only arithmetic", "max(operations / peak, moved / bandwidth)", "operations / peak"),
    ],
    "06.crossover": [
        ("caches are forgotten", "gained = 2 * weights - ridge * cache_bytes", "gained = 2 * weights"),
        ("rounded down", "math.ceil(ridge * weight_bytes / gained)", "int(ridge * weight_bytes / gained)"),
        ("a negative batch", " if gained > 0 else None", " if gained else None"),
        ("one operation a weight", "gained = 2 * weights", "gained = weights"),
        ("rounded down, too", "-(-2 * weights // attention)", "2 * weights // attention"),
    ],
    "06.chunk_budget": [
        ("both, one after the other", "max(compute * tokens, memory)", "compute * tokens + memory"),
        ("the decodes are free", "+ 1e-9) - decodes", "+ 1e-9)"),
        (
            "rounded up",
            "math.floor(step_seconds(decodes, compute, memory) / compute + 1e-9)",
            "math.ceil(step_seconds(decodes, compute, memory) / compute)",
        ),
        ("the whole budget", "left = budget - decodes", "left = budget"),
        ("an endless prompt", "if left < 1:", "if left < 0:"),
    ],
}
