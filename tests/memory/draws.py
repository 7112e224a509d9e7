"""What a World is drawn from: settings, prefix caches and prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pagedlab.memory.eviction import Retention
from pagedlab.memory.logical import LogicalManager
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_hash import HashPrefixCache, hash_page
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.memory.publication import PublishPromptAtEnd, PublishWhenComputed
from tests.memory.entries import Setup
from tests.memory.proofs import Live

#: ``choose(n)`` picks one of ``range(n)``: at random in the long runs, by hypothesis in those that must shrink.
Choose = Callable[[int], int]

#: When content can be found; or how swaps are kept.
MANAGERS: dict[str, type[CacheManager]] = {
    "at once": CacheManager,
    "computed": PublishWhenComputed,
    "at the end": PublishPromptAtEnd,
    "logical": LogicalManager,
}

SALTS = (None, None, "tenant")


def random_setup(choose: Choose) -> Setup:
    page_size, num_pages = (*range(1, 9), 16)[choose(9)], 1 + choose(32)
    return Setup(
        page_size,
        num_pages,
        cache=("hash", "radix", "radix", "hash", "hash", "none")[choose(6)],
        hash_bits=(128, 4, 0)[choose(3)],
        num_host_pages=(0, 1 + choose(4), 1 + choose(2 * num_pages))[choose(3)],
        partial_hits=bool(choose(2)),
        window=(None, None, 1 + choose(page_size), 1 + choose(3 * page_size))[choose(4)],
        order=("lru", "lfu", "fifo", "priority")[choose(4)],
        leaves_first=bool(choose(2)),
        last_freed_first=bool(choose(2)),
        whole_sequences=choose(3) == 0,
        min_offload_priority=(0, 0, 35, 60)[choose(4)],
        manager=("at once", "at once", "computed", "computed", "at the end", "logical", "logical")[choose(7)],
        max_events=(1_000_000, 64, 2)[choose(3)],
    )


def random_prompt(choose: Choose, setup: Setup, past: Sequence[Live]) -> Live:
    """Prompts that begin alike: a run of one token, then a few others; or what was said before, and more."""
    tail = [choose(2) for _ in range(choose(4))]
    wish = Retention((0, 50, 80)[choose(3)], choose(3), (None, 4)[choose(2)], (5.0, 20.0)[choose(2)])
    retention = (wish,) if choose(4) == 0 else ()
    if past and choose(3) == 0:
        old = past[-1 - choose(min(len(past), 16))]
        return Live(old.salt, old.tokens[: 1 + choose(len(old.tokens))] + tail, retention)
    longest = setup.page_size * (2 + choose(setup.num_pages))
    return Live(SALTS[choose(len(SALTS))], [choose(2)] * (1 + choose(longest)) + tail, retention)


def make_cache(setup: Setup) -> PrefixCache | None:
    if setup.cache == "radix":
        return RadixPrefixCache(setup.page_size)
    if setup.cache == "hash":
        return HashPrefixCache(setup.page_size, hash_page=cut_hash(setup.hash_bits))
    return None


def cut_hash(bits: int) -> Callable[..., bytes]:
    """The page hash with all but its first ``bits`` bits thrown away."""
    return lambda parent, tokens: (int.from_bytes(hash_page(parent, tokens)) >> (128 - bits)).to_bytes(16)
