"""Simulator: what would happen if these requests came to that system on that machine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from copy import copy, deepcopy
from typing import Any

from pagedlab.arithmetic import Machine, ModelShape
from pagedlab.errors import InvalidConfig
from pagedlab.memory.events import Trace
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.progress import progress_bar
from pagedlab.scheduling.assemble import assemble
from pagedlab.scheduling.load import Offer
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.simulate.cost import CostModel, Roofline, named
from pagedlab.simulate.loop import Loop
from pagedlab.simulate.pool import UntouchedPool
from pagedlab.simulate.quiet import QuietScheduler
from pagedlab.simulate.replica import Job, Replica
from pagedlab.simulate.results import Results
from pagedlab.simulate.routers import Router
from pagedlab.systems import System, preset
from pagedlab.systems.system import DATA_PLANE

#: Bits of a number in the cache, by the name of how it is stored.
KV_BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "fp8": 8, "int4": 4}

#: Bits of a weight, by the format that a preset keeps weights in.
WEIGHT_BITS = {None: 16, "int8": 8, "int4": 4}


def quick_hash(parent: Hashable, tokens: Sequence[int]) -> int:
    """In place of a cryptographic hash. Tokens are compared behind it, so what is hit is the same."""
    return hash((parent, tokens))


class TheOnlyOne(Router):
    """The router of a single replica."""

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica:
        return replicas[0]


class Simulator:
    """One replica of ``system``, a preset of ``pagedlab.systems`` or None, under a cost model.

    ``model`` and ``gpu`` are names of ``pagedlab.arithmetic`` or sizes of your own; from them comes a roofline, and
    how many pages fit. ``weight_bits``: the preset's, or 16, if None. ``cost`` is a cost model in place of all that,
    which then needs ``num_pages``. ``knobs`` are those of the engine, and override the preset's: what plans a step is
    the engine's own code.

        results = Simulator("sglang", model="Llama-3-8B", gpu="H100").run(chat(rate=4, count=1000))
        results.percentiles("ttft"), results.hit_rate, results.table()

    ``fast=False``: every sequence is looked at in every step. The results are the same; a test compares. ``trace``:
    keep everything that happens to every page, which takes the same time.
    """

    def __init__(
        self,
        system: str | System | None = "vllm",
        *,
        model: str | ModelShape = "Llama-3-8B",
        gpu: str | Machine = "H100",
        ranks: int = 1,
        weight_bits: int | None = None,
        cost: CostModel | None = None,
        num_pages: int | None = None,
        fast: bool = True,
        **knobs: Any,
    ) -> None:
        self.system = None if system is None else preset(system)
        self._own = knobs
        knobs = self._knobs()
        if knobs.get("drafter") is not None:
            raise InvalidConfig(
                "a drafter was asked for; without a model nobody can say which drafts are right: leave it away"
            )
        kv_dtype = knobs.get("kv_dtype") or "bfloat16"
        if kv_dtype not in KV_BITS:
            raise InvalidConfig(f"kv_dtype={kv_dtype!r} was asked for; there are {', '.join(map(repr, KV_BITS))}")
        if cost is None:
            weights = self.system.weights() if self.system else None
            weight_bits = weight_bits or WEIGHT_BITS[weights]
            cost = Roofline(*named(model, gpu), weight_bits=weight_bits, kv_bits=KV_BITS[kv_dtype], ranks=ranks)
        if num_pages is None:
            if not isinstance(cost, Roofline):
                raise InvalidConfig("a cost model of your own does not say how many pages there are: give num_pages")
            num_pages = cost.num_pages(knobs.get("page_size", 16))
        self.cost, self.num_pages = cost, num_pages
        self.num_host_pages: int = knobs.get("num_host_pages", 0)
        self._scheduler: type[Scheduler] = QuietScheduler if fast else Scheduler

    def with_host_memory(self) -> Simulator:
        """This one, or if it has none, one like it with as many pages in host memory as on the device."""
        if self.num_host_pages:
            return self
        other = copy(self)
        other.num_host_pages, other._own = self.num_pages, self._own | {"num_host_pages": self.num_pages}
        return other

    def replica(self, number: int = 0, *, pool: str = "", trace: Trace | None = None) -> Replica:
        """A new one, with nothing in its cache."""
        knobs = {name: value for name, value in self._knobs().items() if name not in DATA_PLANE}
        knobs = {"pool": UntouchedPool(self.num_pages), "trace": trace, "scheduler": self._scheduler} | knobs
        if knobs.get("prefix_cache", "hash") == "hash":
            knobs["prefix_cache"] = HashPrefixCache(knobs.get("page_size", 16), hash_page=quick_hash)
        scheduler = assemble(**knobs)
        if self.num_host_pages:
            scheduler.manager.host.pool = UntouchedPool(self.num_host_pages)
        return Replica(scheduler, self.cost, number, pool)

    def _knobs(self) -> dict[str, Any]:
        """New ones each time: policies remember, and each replica has its own."""
        return (self.system.knobs() if self.system else {}) | deepcopy(self._own)

    def run(
        self,
        offers: Iterable[Offer],
        *,
        sample_every: float | None = None,
        trace: Trace | None = None,
        on_step: Callable[[float, Replica], None] | None = None,
        progress: bool = False,
    ) -> Results:
        """Serve ``offers``, which are in the order of ``at``, to the last token.

        ``on_step`` is told when a step has ended, in seconds, and the replica as that step left it. With a ``trace`` it
        is told of every step, else once for several that decided nothing.
        """
        loop = Loop([self.replica(trace=trace)], offers, TheOnlyOne())
        if sample_every is not None:
            loop.sample_every(sample_every)
        if on_step is not None:
            loop.on_step.append(lambda replica: on_step(loop.now, replica))
        with progress_bar("Simulating", None, show=progress) as advance:
            return loop.run(advance)
