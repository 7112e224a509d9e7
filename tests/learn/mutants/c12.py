"""Faults that a learner makes in chapter 12."""

MUTANTS = {
    "12.shard": [
        ("a rank without KV heads", "max(1, model.num_kv_heads // ranks)", "model.num_kv_heads // ranks"),
        ("KV heads are never divided", "max(1, model.num_kv_heads // ranks)", "model.num_kv_heads"),
        ("uneven KV heads", " or more % fewer:", ":"),
        ("no output projection", "(2 * heads + 2 * kv_heads)", "(heads + 2 * kv_heads)"),
        ("the feed-forward is not divided", "model.intermediate_size // ranks\n", "model.intermediate_size\n"),
        ("an uneven feed-forward", "if model.intermediate_size % ranks:", "if False:"),
        (
            "pages of all heads",
            "page_size * 2 * model.num_layers * kv_heads",
            "page_size * 2 * model.num_layers * model.num_kv_heads",
        ),
        ("keys without values", "page_size * 2 * model", "page_size * model"),
        ("one reduction a layer", "else 2 * model.num_layers", "else model.num_layers"),
        ("a single rank reduces", "return 0 if ranks == 1 else 2", "return 2"),
    ],
    "12.two_choices": [
        (
            "the same one twice",
            "rng.sample(range(len(loads)), min(2, len(loads)))",
            "[rng.randrange(len(loads)), rng.randrange(len(loads))]",
        ),
        ("the more loaded one", "return min(drawn", "return max(drawn"),
        ("all are looked at", "min(2, len(loads))", "len(loads)"),
        ("one replica crashes", "min(2, len(loads))", "2"),
        ("only the first two", "rng.sample(range(len(loads)), min(2, len(loads)))", "list(range(len(loads)))[:2]"),
        ("the loads never change", "loads[choose(loads, rng)] += 1", "loads[choose([0] * num_replicas, rng)] += 1"),
    ],
    "12.prefix_router": [
        ("no memory", "        self.remembered[chosen].update(self.beginnings(prompt))\n", ""),
        ("no guard", "most - least > self.gap and most > self.ratio * least", "False"),
        ("the gap alone decides", " and most > self.ratio * least", ""),
        ("the proportion alone decides", "most - least > self.gap and ", ""),
        ("any match will do", "max(matches) >= self.cover * len(prompt)", "max(matches) > 0"),
        ("a match at the share is none", "max(matches) >= self.cover", "max(matches) > self.cover"),
        (
            "everybody remembers",
            "self.remembered[chosen].update(",
            "for known in self.remembered:\n            known.update(",
        ),
        (
            "the busier of two",
            "(preference[replica], loads[replica], replica)",
            "(preference[replica], -loads[replica], replica)",
        ),
        ("half a page", "range(size, len(prompt) + 1, size)", "range(size, len(prompt) + size, size)"),
    ],
    "12.cost_per_token": [
        ("minutes for hours", "tokens_per_second * 3600", "tokens_per_second * 60"),
        ("a thousand tokens", "* 1e6", "* 1e3"),
        ("utilisation on the wrong side", "* 3600 * utilisation)", "* 3600 / utilisation)"),
        ("an idle machine", "if not 0 < utilisation <= 1:", "if not utilisation <= 1:"),
        (
            "upside down",
            "per_million(price_per_hour, tokens_per_second) / others_per_million",
            "others_per_million / per_million(price_per_hour, tokens_per_second)",
        ),
        ("half a replica is dropped", "math.ceil(", "int("),
        ("the spare is loaded too", ")) + spare", ") - spare) + spare"),
    ],
    "12.failover": [
        (
            "the dead have a say",
            "if self.working.get(request) != replica:\n            return False\n        stream",
            "stream",
        ),
        ("repeated to the user", "        if position < len(stream):\n            return False\n", ""),
        ("a gap goes unnoticed", "if position > len(stream):", "if False:"),
        ("requeued, and still assigned", "        for request in lost:\n            del self.working[request]\n", ""),
        ("behind all others", "self.waiting[:0] = lost", "self.waiting += lost"),
        ("forgotten", "        self.waiting[:0] = lost\n", ""),
        (
            "the dead end requests",
            "if self.working.get(request) != replica:\n            return False\n        del",
            "self.working.pop(request, None)\n        self.working[request] = replica\n        del",
        ),
        (
            "what has ended is still assigned",
            "        del self.working[request]\n        self.ended",
            "        self.ended",
        ),
    ],
    "12.all_reduce": [
        ("the second half adds too", " if turn < n - 1 else list(arrived)", ""),
        ("a round too few", "range(2 * (n - 1))", "range(2 * (n - 1) - 1)"),
        ("added to the wrong piece", "piece = sent[rank - 1]", "piece = sent[rank]"),
        ("always the same piece", "(rank - turn) % n", "rank % n"),
        ("whole vectors", "exchange([list(held[rank][sent[rank]])", "exchange([held[rank][sent[rank]] * 2"),
        ("nothing passes", "incoming = exchange(", "incoming = list("),
    ],
}
