"""Our control plane behind the questions that a driver answers, and what of the two answers is compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from pagedlab.errors import OutOfPages, PagesInUse
from pagedlab.memory.events import EventKind, Trace
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from tests.systems.differential.driver import END, content

Answer = dict[str, Any]


class Ours:
    """A scheduler that traces. Its cache manager alone can be asked too (admit, extend, release), but not both."""

    def __init__(self, scheduler: Scheduler) -> None:
        assert isinstance(scheduler.manager.trace, Trace)
        self.scheduler, self.manager, self.trace = scheduler, scheduler.manager, scheduler.manager.trace
        self.requests: dict[str, Request] = {}
        self._says: dict[str, list[int]] = {}
        self._names: dict[int, str] = {}  #: of sequences, as the other side knows them
        self._numbers: dict[str, int] = {}
        self._tokens: dict[int, tuple[list[int], str | None]] = {}  #: of sequences, and their salts
        self._held: dict[int, str] = {}  #: what a page that can be hit holds
        self._read = 0  #: events of the trace
        self._next = count()

    # The scheduler

    def add(self, name: str, prompt: list[int], says: list[int], salt: str | None = None, priority: int = 0) -> Answer:
        """A request that will say ``says``, or less if END is among it."""
        params = SamplingParams(max_tokens=len(says), stop_token_ids=[END], ignore_eos=True)
        request = self.requests[name] = Request(name, list(prompt), params, priority=priority, salt=salt)
        self.scheduler.add(request)
        self._says[name] = says
        self._know(request.sequences[0].id, name, request.sequences[0].token_ids, salt)
        return self._lines()

    def step(self) -> Answer:
        before = set(self.scheduler.running)
        plan = self.scheduler.schedule()
        scheduled = {
            "chunks": [[chunk.sequence.request.id, chunk.start, chunk.stop] for chunk in plan.chunks],
            "admitted": names(sequence for sequence in self.scheduler.running if sequence not in before),
            "preempted": sorted(names(plan.preempted)),
            "memory": self._memory(),
            **self._lines(),
        }
        said = [[self._says[row.sequence.request.id][row.sequence.num_output]] for row in plan.samples]
        self.scheduler.commit(plan, said)
        ended = [chunk.sequence for chunk in plan.chunks if chunk.sequence.finish_reason is not None]
        finished = [[sequence.request.id, str(sequence.finish_reason)] for sequence in ended]
        return {**scheduled, "finished": finished, "after": {"memory": self._memory(), **self._lines()}}

    def abort(self, name: str) -> Answer:
        self.scheduler.finish(self.requests[name].sequences[0], FinishReason.ABORT)
        return {"memory": self._memory(), **self._lines()}

    # The cache manager alone

    def admit(self, name: str, tokens: list[int], budget: int, salt: str | None) -> Answer:
        number, tokens = next(self._next), list(tokens)
        try:
            admitted = self.manager.admit(number, tokens, budget, salt)
        except OutOfPages:
            return {"hit": None, "memory": self._memory()}
        self._know(number, name, tokens, salt)
        self.manager.publish(number, tokens, admitted.num_tokens)
        return {"hit": admitted.num_hit, "memory": self._memory()}

    def extend(self, name: str, tokens: list[int], budget: int) -> Answer:
        """Append ``tokens``, then take pages for ``budget`` of those that it lacks."""
        number = self._numbers[name]
        held, _ = self._tokens[number]
        held += tokens
        stop = min(len(held), self.manager.table(number).num_tokens + budget)
        try:
            self.manager.extend(number, stop)
        except OutOfPages:
            return {"done": False, "memory": self._memory()}
        self.manager.publish(number, held, stop)
        return {"done": True, "memory": self._memory()}

    def release(self, name: str) -> Answer:
        self.manager.release(self._numbers.pop(name))
        return {"memory": self._memory()}

    def reset(self) -> Answer:
        try:
            self.manager.reset_prefix_cache()
        except PagesInUse:
            return {"done": False, "memory": self._memory()}
        list(self._events())  # theirs tell that all is cleared, and no page by its name
        return {"done": True, "memory": self._memory()}

    def number_of(self, name: str) -> tuple[int, int]:
        """The sequence's number in the cache manager, and how many tokens it has."""
        number = self._numbers[name]
        return number, len(self._tokens[number][0])

    # What is seen

    def _know(self, number: int, name: str, tokens: list[int], salt: str | None) -> None:
        self._names[number], self._numbers[name], self._tokens[number] = name, number, (tokens, salt)

    def _lines(self) -> Answer:
        return {"running": names(self.scheduler.running), "waiting": names(self.scheduler.waiting)}

    def _memory(self) -> Answer:
        self.manager.check()
        events = list(self._events())  # first: they tell what pages hold
        tables = {self._names[number]: list(self.manager.table(number).pages) for number in self.manager.sequences}
        blank = [[page, None] for page in self.manager.pool.free_pages()]
        parked = [[page, self._held[page]] for page in self.manager.store.queue.in_order()]
        return {"events": events, "tables": tables, "queue": blank + parked}

    def _events(self) -> Iterator[list[str]]:
        """Pages published and evicted since this was last asked, by what they hold."""
        for at in range(self._read, len(self.trace)):
            event = self.trace[at]
            if event.kind is EventKind.PUBLISH:
                tokens, salt = self._tokens[event.sequence]
                held = self._held[event.page] = content(tokens[: (event.value + 1) * self.manager.page_size], salt)
                yield ["publish", held]
            elif event.kind is EventKind.EVICT:
                yield ["evict", self._held.pop(event.page)]
        self._read = len(self.trace)


def names(sequences: Iterable[Sequence]) -> list[str]:
    return [sequence.request.id for sequence in sequences]


def up_to_names_of_pages(answer: Any) -> Any:
    """``answer`` with pages numbered in the order in which they are met, tables first, and blank ones only counted.

    Two such answers are equal when pages can be matched one to one so that tables and line of eviction are the same.
    """
    if not isinstance(answer, dict):
        return answer
    if "tables" not in answer:
        return {key: up_to_names_of_pages(value) for key, value in answer.items()}
    numbers: dict[int, int] = {}

    def number(page: int) -> int:
        return numbers.setdefault(page, len(numbers))

    tables = {name: [number(page) for page in pages] for name, pages in sorted(answer["tables"].items())}
    parked = [[number(page), held] for page, held in answer["queue"] if held is not None]
    return {**answer, "tables": tables, "queue": parked, "blank": len(answer["queue"]) - len(parked)}


def by_content(answer: Answer) -> Any:
    """``answer`` of a system that keeps no line of eviction, in which no two pages hold the same."""
    memory = answer["memory"]
    queue = sorted(memory["queue"], key=lambda entry: entry[1] or "")
    return up_to_names_of_pages({**answer, "memory": {**memory, "queue": queue}})
