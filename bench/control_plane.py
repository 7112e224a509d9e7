"""What pagedlab's control plane costs: all that is done for a step beside the model's arithmetic.

    python -m bench.control_plane [--quick] [--json FILE]

Microseconds a sequence and step, for batches of 1 to 4,096 sequences, contexts to 128k tokens and pools to 1,000,000
pages; and microseconds a page to find a prompt's prefix in the cache. Every figure is the median of several rounds, in
microseconds and in turns of a calibration loop that is timed beside each round. One thread. A few minutes; with
``--quick`` a few seconds and tiny settings, which prove only that it runs.

``control_plane_decode`` and ``control_plane_manager`` say what exactly is timed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pagedlab
from bench.control_plane_decode import Decode, decode
from bench.control_plane_load import BATCHES, CONTEXT, MATCHES, POOL
from bench.control_plane_manager import PREFIX_CACHES, grow, match
from bench.control_plane_report import Figure, main


def figures(quick: bool) -> Iterator[Figure]:
    return quick_figures(rounds=2) if quick else all_figures(rounds=7)


def all_figures(rounds: int) -> Iterator[Figure]:
    for sequences in BATCHES:
        yield decode("decode, by batch", Decode(sequences, CONTEXT, POOL), rounds)
    for context in (256, 2048, 16_384, 131_072):
        yield decode("decode, by context", Decode(64, context, POOL), rounds)
    for pool in (50_000, 100_000, 300_000, POOL):
        for full in (False, True):
            yield decode("decode, by pool", Decode(512, CONTEXT, pool, full), rounds)
    yield decode("decode, with a trace", Decode(512, CONTEXT, POOL, trace=True), rounds)
    yield decode("decode, without a prefix cache", Decode(512, CONTEXT, POOL, prefix_cache=False), rounds)
    for sequences in BATCHES:
        yield grow(sequences, CONTEXT, POOL, rounds)
    for prefix_cache in PREFIX_CACHES:
        for cached, matched in MATCHES:
            yield match(prefix_cache, cached, matched, rounds)


def quick_figures(rounds: int) -> Iterator[Figure]:
    for full in (False, True):
        yield decode("decode, by pool", Decode(4, 64, 100, full), rounds)
    yield decode("decode, with a trace", Decode(4, 64, 100, trace=True), rounds)
    yield grow(4, 64, 100, rounds)
    for prefix_cache in PREFIX_CACHES:
        yield match(prefix_cache, 20, 4, rounds)


if __name__ == "__main__":
    main("control_plane", __doc__, pagedlab.__version__, "pagedlab", figures)
