"""Faults that a learner makes in chapter 10."""

MUTANTS = {
    "10.percentile": [
        ("counted from 0", "[rank - 1]", "[min(rank, len(samples) - 1)]"),
        ("rounded down", "-(-len(samples) * percent // 100)", "max(1, len(samples) * percent // 100)"),
        ("floats", "-(-len(samples) * percent // 100)", "__import__('math').ceil(percent / 100 * len(samples))"),
        ("not sorted", "sorted(samples)[rank", "samples[rank"),
        (
            "the caller's list is sorted",
            "return sorted(samples)[",
            "samples.sort() if type(samples) is list else 0\n    return samples[",
        ),
        ("0 per cent is answered", "not 1 <= percent", "not 0 <= percent"),
    ],
    "10.request_latencies": [
        ("the first token's wait is in the pace", "(last - first) / gaps", "(last - arrival) / gaps"),
        (
            "divided by all tokens",
            "gaps = token_times[0], token_times[-1], len(token_times) - 1",
            "gaps = token_times[0], token_times[-1], len(token_times)",
        ),
        ("one token has a pace of 0", "if gaps else None", "if gaps else 0.0"),
        (
            "a pace of 0 is none",
            "(last - first) / gaps if gaps else None",
            "((last - first) / gaps if gaps else 0.0) or None",
        ),
        ("E2E begins at the first token", "last - arrival)", "last - first)"),
        ("the last gap only", "(last - first) / gaps", "(last - token_times[-2])"),
    ],
    "10.poisson_arrivals": [
        ("evenly spaced", "draw.expovariate(rate)", "1 / rate"),
        ("uniform gaps", "draw.expovariate(rate)", "draw.uniform(0, 2 / rate)"),
        ("the rate taken for the mean", "draw.expovariate(rate)", "draw.expovariate(1 / rate)"),
        ("gaps, not times", "now += draw", "now = draw"),
        (
            "the first at 0",
            "now += draw.expovariate(rate)\n        arrivals.append(now)",
            "arrivals.append(now)\n        now += draw.expovariate(rate)",
        ),
        ("everybody's stream", "Random(seed), 0.0", "__import__('random'), 0.0"),
        ("a seed for each gap", "draw.expovariate(rate)", "Random(seed).expovariate(rate)"),
    ],
    "10.omission": [
        ("counted from sending", "waited.append(free - at)", "waited.append(seconds)"),
        ("a server that never idles", "free = max(free, at) + seconds", "free = free + seconds"),
        ("a server without a queue", "free = max(free, at) + seconds", "free = at + seconds"),
        ("closed counts from due", "free - sent)", "free - at)"),
        ("sent when it is due", "(sent, free - sent)", "(at, free - sent)"),
        ("sent before the answer is there", "sent = max(free, at)", "sent = at\n        free = max(free, at)"),
    ],
    "10.goodput": [
        ("either bound", "request.ttft <= ttft and (", "request.ttft <= ttft or ("),
        ("TTFT alone", " and (request.tpot is None or request.tpot <= tpot)", ""),
        ("the bound is outside", "request.ttft <= ttft and", "request.ttft < ttft and"),
        (
            "one token is a miss",
            "(request.tpot is None or request.tpot <= tpot)",
            "(request.tpot is not None and request.tpot <= tpot)",
        ),
        ("what never came is good", "        return False", "        return True"),
        (
            "a share of those answered",
            "/ len(requests) if requests",
            "/ max(1, sum(r.ttft is not None for r in requests)) if requests",
        ),
        ("not a second", "for request in requests) / seconds", "for request in requests)"),
    ],
    "10.slo_search": [
        (
            "the other half",
            "low = middle\n        else:\n            high = middle",
            "high = middle\n        else:\n            low = middle",
        ),
        ("never tried", "    return low", "    return (low + high) / 2"),
        ("the rate that missed", "    return low", "    return high"),
        ("one step too few", "high - low > tolerance", "high - low > 2 * tolerance"),
        ("strictly more than promised", "if share(high) >= promised", "if share(high) > promised"),
        ("the lowest rate is not tried", "if share(low) < promised:", "if False:"),
        ("in small steps", "middle = (low + high) / 2", "middle = low + tolerance"),
    ],
    "10.pareto": [
        ("latency the wrong way", "one.latency <= other.latency", "one.latency >= other.latency"),
        (
            "equals dominate",
            "return as_good and (one.throughput > other.throughput or one.latency < other.latency)",
            "return as_good and one is not other",
        ),
        (
            "better in both",
            "one.throughput > other.throughput or one.latency",
            "one.throughput > other.throughput and one.latency",
        ),
        ("by throughput, falling", "key=lambda point: point.latency", "key=lambda point: -point.throughput"),
        ("as they came", "sorted(best, key=lambda point: point.latency)", "best"),
        (
            "the best by one number",
            "return sorted(best, key=lambda point: point.latency)",
            "return sorted(best, key=lambda point: point.latency)[:1]",
        ),
    ],
}
