"""The engine's step loop around a scripted model, which proves every step right before it speaks.

The model writes what it computes into a stand-in for GPU memory and reads the whole context back through the page
tables before it says the next token: a token that stands elsewhere, was never written, or belongs to another sequence
is noticed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pagedlab.memory.events import EventKind, FinishCode, Trace
from pagedlab.memory.eviction import Retention
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling import request as scheduling
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.order import FirstComeFirstServed
from pagedlab.scheduling.plan import Chunk, SampleRow, StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Status
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.scheduling.victims import last_in_line
from tests.memory.kv_memory import KVMemory, Prefixes
from tests.memory.serving import CACHES
from tests.memory.witness import TraceWitness

#: Says the next token after these, for the sequence with this index.
Script = Callable[[Sequence[int], int], int]

EOS = 999


def token_after(tokens: Sequence[int], index: int) -> int:
    """A token that depends on all tokens before it, on which of n sequences speaks, and on nothing else."""
    value = index + 1
    for token in tokens:
        value = (value * 31 + token) % 1009
    return 100 + value % 7


def offers(tokens: Sequence[int]) -> list[tuple[float, int]]:
    """What a beam has to offer: three tokens, each with a score that depends on all tokens up to it. No two tie."""
    value = 1
    for token in tokens:
        value = (value * 1_000_003 + token) % (2**61 - 1)
    return [(value * (rank + 7) % (2**61 - 1) / 2**61, 100 + rank) for rank in range(3)]


class FakeEngine:
    """``settings`` are those of ``manager``; ``wishes`` of Scheduler: order, admission, victim, delay, swap, mixed …"""

    def __init__(
        self,
        *,
        page_size: int = 4,
        num_pages: int = 64,
        budget: int = 64,
        max_sequences: int = 16,
        max_context: int = 8192,
        max_overtakes: int = 256,
        cache: str | None = "hash",
        manager: type[CacheManager] = CacheManager,
        max_events: int = 1_000_000,
        settings: dict[str, Any] | None = None,
        **wishes: Any,
    ) -> None:
        self.trace = Trace(num_pages, page_size, max_events=max_events)
        self.cache = cache
        self.manager = manager(
            num_pages,
            page_size,
            prefix_cache=CACHES[cache](page_size) if cache else None,
            trace=self.trace,
            **(settings or {}),
        )
        limits = Limits(budget, max_sequences, max_context, max_overtakes)
        self.scheduler = Scheduler(self.manager, limits, eos_token_ids=(EOS,), **wishes)
        self.requests: list[Request] = []
        self.pins: dict[int, list[int]] = {}  #: name -> what its slots hold
        self.num_steps = 0
        self._num_pins = 0
        self._stood_still: set[scheduling.Sequence] = set()  #: while others came in at the last step
        self._scripts: dict[str, Script] = {}
        self._scores: dict[int, float] = {}  #: of living beams
        self._computed: dict[int, int] = {}  #: sequence -> tokens computed, as the last step left it
        self._kv = KVMemory(num_pages + self.manager.host.num_pages, page_size)
        self._prefixes = Prefixes()
        self._witness = TraceWitness(self.trace, self._kv)

    def add(
        self,
        prompt: Sequence[int],
        max_tokens: int | None = 4,
        *,
        priority: int = 0,
        salt: object = None,
        retention: tuple[Retention, ...] = (),
        script: Script = token_after,
        **params: Any,
    ) -> Request:
        wish, name = SamplingParams(max_tokens=max_tokens, **params), f"request {len(self.requests)}"
        request = Request(name, list(prompt), wish, priority=priority, salt=salt, retention=retention)
        self.scheduler.add(request)
        self.requests.append(request)
        self._scripts[request.id] = script
        self._prove_memory()
        return request

    def abort(self, request: Request) -> None:
        for sequence in request.sequences:
            self.scheduler.finish(sequence, FinishReason.ABORT)
        self._prove_memory()

    def pin(self, prompt: Sequence[int], salt: object = None) -> int:
        """Hold what is cached of ``prompt``. Returns the pin's name."""
        name = -2 - self._num_pins
        num_pinned = self.scheduler.pin(name, list(prompt), salt)
        self._num_pins += 1
        self.pins[name] = self._prefixes.of(salt, prompt[:num_pinned]).ends[1:]
        self._prove_memory()
        return name

    def unpin(self, name: int) -> None:
        del self.pins[name]
        self.manager.release(name)
        self.manager.record(EventKind.FINISH, sequence=name, value=FinishCode.STOP)
        self._prove_memory()

    def step(self, *, fails: bool = False) -> StepPlan:
        before = [sequence for sequence in self.scheduler.running if not sequence.awaits]
        held = {name: list(self.manager.table(name).pages) for name in self.manager.sequences}
        plan = self.scheduler.schedule()
        self.num_steps += 1
        self.manager.check()
        self._prove_plan(plan, before)
        self._compute(plan, held, only_half=fails)
        if fails:
            self.scheduler.abandon()
        else:
            self.scheduler.commit(plan, [self._says(row) for row in plan.samples])
        for sequence in [chunk.sequence for chunk in plan.chunks] + [row.sequence for row in plan.samples]:
            self._witness.learn(sequence.id, self._contents(sequence, sequence.token_ids))
        self._branch({row.sequence.request.id: row.sequence.request for row in plan.samples})
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

    def _says(self, row: SampleRow) -> list[int]:
        """The next token, and those after it as long as they are what the drafts say. Beams wait for `_branch`."""
        sequence = row.sequence
        if sequence.request.params.beam_width:
            return []
        said: list[int] = []
        for draft in (*row.drafts, None):
            said.append(self._scripts[sequence.request.id]([*sequence.token_ids, *said], sequence.index))
            if said[-1] != draft:
                break
        return said

    def _branch(self, requests: dict[str, Request]) -> None:
        for request in requests.values():
            beams = request.alive
            if not (request.params.beam_width and beams and all(beam.awaits for beam in beams)):
                continue
            scored = [
                (self._scores.get(beam.id, 0.0) + score, beam, token)
                for beam in beams
                for score, token in offers(beam.token_ids)
            ]
            scored.sort(key=lambda offer: -offer[0])
            best = sorted(scored[: request.params.beam_width], key=lambda offer: beams.index(offer[1]))
            winners = self.scheduler.branch(request, [(beam, token) for _, beam, token in best])
            for winner, (score, _, _) in zip(winners, best, strict=True):
                self._scores[winner.id] = score
                self._computed[winner.id] = winner.num_computed
                if self.scheduler.is_full(winner):
                    self.scheduler.finish(winner, FinishReason.LENGTH)

    def _compute(self, plan: StepPlan, held: dict[int, list[int]], only_half: bool) -> None:
        """Copies first, then all writes, then all reads: the order that a real step keeps in each layer.

        ``held``: the pages of every sequence before the step. Those that a chunk got since hold nothing of its own.
        """
        size = self.manager.page_size
        for copy in plan.copies:
            self._kv.copy(copy.source, copy.target)
        for chunk in plan.chunks:
            first, offset = divmod(chunk.start, size)
            before = held.get(chunk.sequence.id, [])[first:]
            for number, page in enumerate(self.manager.table(chunk.sequence.id).pages[first:]):
                if before[number : number + 1] != [page]:  # of one that was hit in part, the rest is written over
                    self._kv.blank(page, 0 if number else offset)
        chunks = plan.chunks[: len(plan.chunks) // 2] if only_half else plan.chunks
        for chunk in chunks:
            slots = self.manager.table(chunk.sequence.id).slots(chunk.start, chunk.stop)
            self._kv.write(slots, self._of_chunk(chunk)[chunk.start :])
        for chunk in [] if only_half else chunks:
            self._prove_reading(chunk.sequence.id, chunk.start, self._of_chunk(chunk))
        for name, contents in [] if only_half else self.pins.items():
            table = self.manager.table(name)  # it holds nothing when the step failed in which its content was to come
            assert self._kv.read(table.slots(0, table.num_tokens)) == contents[: table.num_tokens], "a pin lost content"

    def _contents(self, sequence: scheduling.Sequence, tokens: Sequence[int]) -> list[int]:
        """What the slots of ``sequence`` hold when it has ``tokens``."""
        return self._prefixes.of(sequence.request.salt, tokens).ends[1:]

    def _of_chunk(self, chunk: Chunk) -> list[int]:
        own = chunk.stop - len(chunk.drafts)
        return self._contents(chunk.sequence, [*chunk.sequence.token_ids[:own], *chunk.drafts])

    # Proof

    def _prove_reading(self, name: int, start: int, contents: list[int]) -> None:
        """The rows from ``start`` to the last of ``contents`` see all that they may look at."""
        window, table = self.manager.window, self.manager.table(name)
        first = 0 if window is None else max(0, start + 1 - window)
        assert table.holes * self.manager.page_size <= first, f"sequence {name} looks at what was given back"
        read = self._kv.read(table.slots(first, len(contents)))
        assert read == contents[first:], f"sequence {name} read what is not its own"

    def _prove_plan(self, plan: StepPlan, before: list[scheduling.Sequence]) -> None:
        scheduler, key = self.scheduler, self.scheduler._key
        assert plan.chunks, "a step that computes nothing: nobody would ever get on"
        assert plan.num_tokens <= scheduler.limits.max_tokens_per_step
        planned = [chunk.sequence for chunk in plan.chunks]
        assert len(set(planned)) == len(planned), "a sequence has two chunks in one step"
        assert len(scheduler.running) <= scheduler.limits.max_sequences
        for line in (scheduler.running, scheduler.waiting):
            assert line == sorted(line, key=key), "out of order"

        went_on = [sequence for sequence in planned if sequence in before]
        came_in = planned[len(went_on) :]
        assert went_on == sorted(went_on, key=key) and not set(before) & set(came_in)
        assert not (plan.preempted and came_in and before), "somebody came in on pages that were taken from another"
        if not scheduler.mixed:
            assert not (went_on and came_in), "somebody came in beside those who decode"
            stands_still = set(before) if came_in else set()
            assert not self._stood_still & stands_still, "somebody stood still for two steps"
            self._stood_still = stands_still
        elif before and before[0] is min((*before, *came_in), key=key) and scheduler.running[0] is before[0]:
            assert planned[0] is before[0], "the first in line did not get on"
        for victim in plan.preempted:
            assert victim.status is Status.WAITING and victim.num_computed == 0
            assert victim not in planned, "a victim had pages in this step"
            assert all(row.sequence is not victim for row in plan.samples), "a victim speaks"
        self._prove_first_come_first_served(plan, went_on)
        for number, chunk in enumerate(plan.chunks):
            self._prove_chunk(plan, number, chunk, chunk.sequence in came_in)

    def _prove_first_come_first_served(self, plan: StepPlan, went_on: list[scheduling.Sequence]) -> None:
        scheduler, key = self.scheduler, self.scheduler._key
        beams = any(request.params.beam_width for request in self.requests) or scheduler.delay
        if type(scheduler.order) is not FirstComeFirstServed or scheduler.victim is not last_in_line or beams:
            return
        if scheduler.running and scheduler.waiting:
            assert key(scheduler.running[-1]) < key(scheduler.waiting[0]), "somebody was overtaken"
        for victim in plan.preempted:
            assert all(key(sequence) < key(victim) for sequence in went_on), "a victim was before one that ran"
        assert plan.preempted == sorted(plan.preempted, key=key, reverse=True), "victims are taken from the end"

    def _prove_chunk(self, plan: StepPlan, number: int, chunk: Chunk, came_in: bool) -> None:
        sequence, own = chunk.sequence, chunk.stop - len(chunk.drafts)
        assert chunk.num_tokens > 0
        start = sequence.num_computed if came_in else self._computed[sequence.id]
        assert chunk.start == start, "a token was left out, or computed twice"
        sampling = [row for row in plan.samples if row.chunk == number]
        if own < sequence.num_tokens:
            assert not sampling and not chunk.drafts
            return
        assert sampling[0].sequence is sequence and sampling[0].drafts == chunk.drafts
        assert not chunk.drafts or own - chunk.start == 1 == len(sampling), "drafts follow one token, of one sequence"
        for row in sampling[1:]:
            fork = row.sequence
            assert fork.request is sequence.request and fork.token_ids == sequence.token_ids and not row.drafts

    def _prove_memory(self) -> None:
        """Between two steps: every running sequence reads its own tokens, and what can be hit was really computed."""
        manager, running, size = self.manager, self.scheduler.running, self.manager.page_size
        manager.check()
        assert sorted(manager.sequences) == sorted([*self.pins, *(sequence.id for sequence in running)])
        to_be_copied = {copy.source for copy in manager.store._copies}
        for page in set(manager.pool.free_pages()) - to_be_copied:
            self._kv.blank(page)
        for sequence in running:
            table = manager.table(sequence.id)
            self._prove_reading(
                sequence.id, sequence.num_computed, self._contents(sequence, sequence.token_ids)[: table.num_tokens]
            )
            assert table.num_tokens == sequence.num_computed <= sequence.num_tokens - (not sequence.awaits)
            self._computed[sequence.id] = sequence.num_computed
            if table.waste and manager.pool.refcount(table.pages[-1]) == 1:  # rejected drafts
                self._kv.blank(table.pages[-1], size - table.waste)
            if self.cache == "hash" and manager.window is None and type(manager) is CacheManager:
                full = table.pages[: table.num_tokens // size]
                assert all(map(manager.prefix_cache.holds, full)), "a full page was not published"
        self._witness.prove(manager)
        for page, filled in enumerate(self._witness.map.filled):
            if manager.prefix_cache.holds(page):
                assert filled == size, f"page {page} can be hit, but was never computed"

    def prove_idle(self) -> None:
        manager = self.manager
        assert not self.scheduler.has_work and not self.pins
        assert manager.pool.num_used == 0 and manager.pool.num_cached + manager.pool.num_free == manager.pool.num_pages
        assert not manager.host.swapped and manager.host.num_available == manager.host.num_pages
        for request in self.requests:
            assert request.finished
