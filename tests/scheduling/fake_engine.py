"""The engine's step loop around a scripted model, which proves every step right before it speaks.

The model writes what it computes into a stand-in for GPU memory and reads the whole context back through the page
tables before it says the next token: a token that stands elsewhere, was never written, or belongs to another sequence
is noticed at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling import request as scheduling
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.policy import FirstComeFirstServed, Policy
from pagedlab.scheduling.request import FinishReason, Request, Status
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Limits, Scheduler
from tests.memory.kv_memory import KVMemory, Prefixes
from tests.memory.witness import TraceWitness

#: Says the next token of a sequence.
Script = Callable[[scheduling.Sequence], int]

EOS = 999


def token_after(tokens: Sequence[int], index: int) -> int:
    """A token that depends on all tokens before it, on which of n sequences speaks, and on nothing else."""
    value = index + 1
    for token in tokens:
        value = (value * 31 + token) % 1009
    return 100 + value % 7


def arithmetic(sequence: scheduling.Sequence) -> int:
    return token_after(sequence.token_ids, sequence.index)


def saying(*tokens: int) -> Script:
    """These tokens, then 0 for ever."""
    return lambda sequence: tokens[sequence.num_output] if sequence.num_output < len(tokens) else 0


class FakeEngine:
    def __init__(
        self,
        *,
        page_size: int = 4,
        num_pages: int = 64,
        budget: int = 64,
        max_sequences: int = 16,
        max_context: int = 8192,
        policy: Policy | None = None,
        caching: bool = True,
        max_events: int = 1_000_000,
    ) -> None:
        self.trace = Trace(num_pages, page_size, max_events=max_events)
        cache = HashPrefixCache(page_size) if caching else None
        self.manager = CacheManager(num_pages, page_size, prefix_cache=cache, trace=self.trace)
        limits = Limits(budget, max_sequences, max_context)
        self.scheduler = Scheduler(self.manager, limits, policy, eos_token_ids=(EOS,))
        self.requests: list[Request] = []
        self.num_steps = 0
        self._scripts: dict[str, Script] = {}
        self._computed: dict[int, int] = {}  #: sequence -> tokens computed since it was last admitted
        self._kv, self._prefixes = KVMemory(num_pages, page_size), Prefixes()
        self._witness = TraceWitness(self.trace, self._kv)

    def add(
        self,
        prompt: Sequence[int],
        max_tokens: int | None = 4,
        *,
        n: int = 1,
        priority: int = 0,
        salt: object = None,
        script: Script = arithmetic,
        **params: Any,
    ) -> Request:
        wish = SamplingParams(n=n, max_tokens=max_tokens, **params)
        request = Request(f"request {len(self.requests)}", list(prompt), wish, priority=priority, salt=salt)
        self.scheduler.add(request)
        self.requests.append(request)
        self._scripts[request.id] = script
        self._prove_memory()
        return request

    def abort(self, request: Request) -> None:
        for sequence in request.sequences:
            self.scheduler.finish(sequence, FinishReason.ABORT)
        self._prove_memory()

    def step(self, *, fails: bool = False) -> StepPlan:
        before = set(self.scheduler.running)
        held = defaultdict(set, {name: set(self.manager.table(name).pages) for name in self.manager.sequences})
        plan = self.scheduler.schedule()
        self.num_steps += 1
        self.manager.check()
        self._prove_plan(plan, before)
        self._compute(plan, held, only_half=fails)
        if fails:
            self.scheduler.abandon(plan)
        else:
            self.scheduler.commit(plan, [self._next_token(row.sequence) for row in plan.samples])
        for sequence in [chunk.sequence for chunk in plan.chunks] + [row.sequence for row in plan.samples]:
            self._witness.learn(sequence.id, self._prefixes_of(sequence))
        self._prove_memory()
        return plan

    def run(self, max_steps: int = 2000) -> list[StepPlan]:
        """Steps until all requests have ended."""
        plans: list[StepPlan] = []
        while self.scheduler.has_work:
            assert len(plans) < max_steps, f"{max_steps} steps, and still {self.scheduler.running} run"
            plans.append(self.step())
        self.prove_idle()
        return plans

    def outputs(self) -> list[list[list[int]]]:
        return [[sequence.output_ids for sequence in request.sequences] for request in self.requests]

    # A model that computes nothing

    def _next_token(self, sequence: scheduling.Sequence) -> int:
        return self._scripts[sequence.request.id](sequence)

    def _compute(self, plan: StepPlan, held: dict[int, set[int]], only_half: bool) -> None:
        """Copies first, then all writes, then all reads: the order that a real step keeps in each layer.

        ``held``: the pages of every sequence before the step. Those that a chunk got since hold nothing of its own.
        """
        for copy in plan.copies:
            self._kv.copy(copy.source, copy.target)
        copied = {copy.target for copy in plan.copies}
        for chunk in plan.chunks:
            of_chunk = self.manager.table(chunk.sequence.id).pages[chunk.start // self.manager.page_size :]
            for page in set(of_chunk) - copied - held[chunk.sequence.id]:
                self._kv.poison(page)
        chunks = plan.chunks[: len(plan.chunks) // 2] if only_half else plan.chunks
        for chunk in chunks:
            slots = self.manager.table(chunk.sequence.id).slots(chunk.start, chunk.stop)
            self._kv.write(slots, self._prefixes_of(chunk.sequence)[chunk.start : chunk.stop])
        for chunk in [] if only_half else chunks:
            self._prove_reading(chunk.sequence, chunk.stop)

    def _prefixes_of(self, sequence: scheduling.Sequence) -> list[int]:
        return self._prefixes.of(sequence.request.salt, sequence.token_ids)

    # Proof

    def _prove_reading(self, sequence: scheduling.Sequence, num_tokens: int) -> None:
        read = self._kv.read(self.manager.table(sequence.id).slots(0, num_tokens))
        assert read == self._prefixes_of(sequence)[:num_tokens], f"sequence {sequence.id} read what is not its own"

    def _prove_plan(self, plan: StepPlan, before: set[scheduling.Sequence]) -> None:
        scheduler, key = self.scheduler, self.scheduler.policy.key
        assert plan.chunks, "a step that computes nothing: nobody would ever get on"
        assert plan.num_tokens <= scheduler.limits.max_tokens_per_step
        planned = [chunk.sequence for chunk in plan.chunks]
        assert len(set(planned)) == len(planned), "a sequence has two chunks in one step"
        assert len(scheduler.running) <= scheduler.limits.max_sequences
        for line in (scheduler.running, scheduler.waiting):
            assert line == sorted(line, key=key), "out of order"
        if isinstance(scheduler.policy, FirstComeFirstServed) and scheduler.running and scheduler.waiting:
            assert key(scheduler.running[-1]) < key(scheduler.waiting[0]), "somebody was overtaken"

        went_on = [sequence for sequence in planned if sequence in before]
        came_in = planned[len(went_on) :]
        assert went_on == sorted(went_on, key=key) and before.isdisjoint(came_in)
        assert not (plan.preempted and came_in), "somebody came in on pages that were taken from another"
        if before:
            assert planned[0] is min(before, key=key), "the first in line did not get on"
        for victim in plan.preempted:
            assert victim.status is Status.WAITING and victim.num_computed == 0
            assert all(key(sequence) < key(victim) for sequence in went_on), "a victim was before one that ran"
            self._computed.pop(victim.id, None)
        assert plan.preempted == sorted(plan.preempted, key=key, reverse=True), "victims are taken from the end"

        for number, chunk in enumerate(plan.chunks):
            sequence = chunk.sequence
            assert chunk.num_tokens > 0
            start = sequence.num_computed if sequence in came_in else self._computed[sequence.id]
            assert chunk.start == start, "a token was left out, or computed twice"
            self._computed[sequence.id] = chunk.stop
            sampling = [row.sequence for row in plan.samples if row.chunk == number]
            if chunk.stop < sequence.num_tokens:
                assert not sampling
            else:
                assert sampling[0] is sequence
                for fork in sampling[1:]:
                    assert fork.request is sequence.request and fork.token_ids == sequence.token_ids
                    self._computed[fork.id] = chunk.stop

    def _prove_memory(self) -> None:
        """Between two steps: every running sequence reads its own tokens, and what can be hit was really computed."""
        manager, running = self.manager, self.scheduler.running
        manager.check()
        assert sorted(manager.sequences) == sorted(sequence.id for sequence in running)
        for page in manager.pool.free_pages():
            self._kv.poison(page)
        for sequence in running:
            self._prove_reading(sequence, sequence.num_computed)
            table = manager.table(sequence.id)
            assert table.num_tokens == sequence.num_computed < sequence.num_tokens
            full = table.pages[: table.num_tokens // manager.page_size]
            assert not manager.caching or all(map(manager.prefix_cache.holds, full)), "a full page was not published"
        self._witness.prove(manager)
        for page, filled in enumerate(self._witness.map.filled):
            if manager.prefix_cache.holds(page):
                assert filled == manager.page_size, f"page {page} can be hit, but was never computed"

    def prove_idle(self) -> None:
        pool = self.manager.pool
        assert not self.scheduler.has_work
        assert pool.num_used == 0 and pool.num_cached + pool.num_free == pool.num_pages
        for request in self.requests:
            assert request.finished
