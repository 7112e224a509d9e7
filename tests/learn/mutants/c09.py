"""Faults that a learner makes in chapter 09."""

MUTANTS = {
    "09.quantise": [
        (
            "one scale for all rows",
            "zero, top = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)",
            "zero, top = x.amin().expand(*x.shape[:-1], 1), x.amax().expand(*x.shape[:-1], 1)",
        ),
        ("cut off, not rounded", "((x - zero) / scale).round()", "((x - zero) / scale)"),
        ("one step too many", "/ (2**bits - 1)\n", "/ 2**bits\n"),
        ("zero by zero", "    scale = torch.where(scale == 0, torch.ones_like(scale), scale)\n", ""),
        (
            "symmetric",
            "zero, top = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)",
            "top = x.abs().amax(-1, keepdim=True); zero = -top",
        ),
        ("the zero is forgotten", "return q * scale + zero", "return q * scale"),
    ],
    "09.pack": [
        ("halves swapped", "q[..., 0::2] | (q[..., 1::2] << 4)", "q[..., 1::2] | (q[..., 0::2] << 4)"),
        (
            "one half after the other",
            "torch.stack((packed & 15, packed >> 4), -1).flatten(-2)",
            "torch.cat((packed & 15, packed >> 4), -1)",
        ),
        ("three bits", "packed & 15", "packed & 7"),
        ("scales are free", "(2 * scale_bytes if bits < 16 else 0)", "0"),
        ("keys only", "rows = 2 * page_size", "rows = page_size"),
        ("scales for everybody", "(2 * scale_bytes if bits < 16 else 0)", "2 * scale_bytes"),
    ],
    "09.divergence": [
        ("exponentials of large numbers", "shifted = logits - logits.amax(-1, keepdim=True)", "shifted = logits"),
        ("the wrong way round", "(p.exp() * (p - q)).sum(-1)", "(q.exp() * (q - p)).sum(-1)"),
        ("not weighed", "(p.exp() * (p - q)).sum(-1)", "(p - q).sum(-1)"),
        ("a mean", "(p.exp() * (p - q)).sum(-1)", "(p.exp() * (p - q)).mean(-1)"),
        ("surprise, not perplexity", "float((-chosen.mean()).exp())", "float(-chosen.mean())"),
        ("a sum over the text", "(-chosen.mean()).exp()", "(-chosen.sum()).exp()"),
    ],
    "09.crossover": [
        ("half a byte is lost", "-(-weights * bits // 8)", "weights * bits // 8"),
        (
            "rounded down",
            "-(-weights * weight_bits // (values_per_token * cache_bits))",
            "weights * weight_bits // (values_per_token * cache_bits)",
        ),
        ("a cache as narrow as the weights", "(values_per_token * cache_bits))", "(values_per_token * weight_bits))"),
        ("what is left", "return 1 - after / before", "return after / before"),
        (
            "of the weights alone",
            "before = weights * weight_bits + tokens * values_per_token * cache_bits",
            "before = weights * weight_bits",
        ),
        ("the cache as it was", "(cache_to or cache_bits)", "cache_bits"),
    ],
}
