"""A control plane from knobs: the scheduler and the cache manager behind it, ready to plan steps.

The engine, the simulator and the presets of ``pagedlab.systems`` are put together here, so a knob means one thing
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from pagedlab.errors import InvalidConfig
from pagedlab.memory.events import Trace
from pagedlab.memory.eviction import EvictionOrder, eviction_order, leaves_first
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.pool import PagePool
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.scheduling.admission import ADMISSIONS, AdmissionPolicy
from pagedlab.scheduling.delay import DELAYS, Delay
from pagedlab.scheduling.drafts import Drafter, PromptLookup
from pagedlab.scheduling.knobs import PREFIX_CACHES, chosen
from pagedlab.scheduling.limits import Limits, refuse_impossible_pool
from pagedlab.scheduling.order import ORDERS, Order
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.scheduling.victims import VICTIMS, VictimChoice


def assemble(
    *,
    page_size: int = 16,
    num_pages: int = 512,
    num_host_pages: int = 0,
    max_tokens_per_step: int = 512,
    max_sequences: int = 64,
    max_context: int = 8192,
    max_overtakes: int = 256,
    prefix_cache: str | PrefixCache | None = "hash",
    partial_hits: bool = False,
    eviction: str | EvictionOrder = "lru",
    preemption: str = "recompute",
    order: str | Order = "fcfs",
    admission: str | AdmissionPolicy = "max_utilisation",
    victim: str | VictimChoice = "last_in_line",
    delay: str | Delay | None = None,
    mixed: bool = True,
    drafter: str | Drafter | None = None,
    pool: PagePool | None = None,
    trace: Trace | None = None,
    window: int | None = None,
    eos_token_ids: tuple[int, ...] = (),
    manager: Callable[..., CacheManager] = CacheManager,
    scheduler: Callable[..., Scheduler] = Scheduler,
) -> Scheduler:
    """Knobs are those of :class:`~pagedlab.engine.engine.Engine`; the manager is ``.manager`` of what is returned.

    Raises InvalidConfig for a knob that names nothing, and for sizes that cannot be.
    """
    refuse_impossible_pool(page_size, num_pages, num_host_pages)
    swap = chosen("preemption", preemption, {"recompute": False, "swap": True})
    if swap and not num_host_pages:
        raise InvalidConfig("preemption='swap' was asked for without host memory; give it num_host_pages")
    limits = Limits(max_tokens_per_step, max_sequences, max_context, max_overtakes)
    cache = prefix_cache
    if isinstance(cache, str):
        cache = chosen("prefix_cache", cache, PREFIX_CACHES)(page_size)
    first_out = eviction_order(eviction)
    return scheduler(
        manager(
            num_pages if pool is None else pool.num_pages,
            page_size,
            prefix_cache=cache,
            pool=pool,
            trace=trace,
            eviction=leaves_first(first_out) if isinstance(cache, RadixPrefixCache) else first_out,
            num_host_pages=num_host_pages,
            partial_hits=partial_hits,
            window=window,
        ),
        limits,
        order=chosen("order", order, {name: make() for name, make in ORDERS.items()}),
        admission=chosen("admission", admission, {name: make() for name, make in ADMISSIONS.items()}),
        victim=chosen("victim", victim, VICTIMS),
        delay=chosen("delay", delay, DELAYS),
        swap=swap,
        mixed=mixed,
        drafter=None if drafter is None else chosen("drafter", drafter, {"prompt_lookup": PromptLookup()}),
        eos_token_ids=eos_token_ids,
    )
