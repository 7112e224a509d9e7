"""Random arrivals, aborts and failures on the scheduler, every step of it proved by the fake engine.

python -m tests.scheduling.machine --steps 200000
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Sequence_
from typing import NamedTuple

from pagedlab.errors import InvalidRequest, OutOfPages
from pagedlab.memory.eviction import EVICTION_ORDERS, Retention
from pagedlab.progress import progress_bar
from pagedlab.scheduling.admission import ADMISSIONS, Inside
from pagedlab.scheduling.delay import SharedPage
from pagedlab.scheduling.order import ORDERS
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from pagedlab.scheduling.victims import VICTIMS
from tests.memory.draws import MANAGERS, Choose
from tests.scheduling.fake_engine import FakeEngine, offers, token_after

#: One of the tokens that the fake engine says.
STOP_ID = 103


class Setup(NamedTuple):
    page_size: int
    num_pages: int
    budget: int
    max_sequences: int
    max_context: int
    max_overtakes: int
    order: str
    admission: str
    victim: str
    cache: str | None
    num_host_pages: int
    swap: bool
    partial_hits: bool
    window: int | None
    eviction: str
    guesses: bool
    delay: bool
    mixed: bool
    manager: str
    last_freed_first: bool
    whole_sequences: bool
    min_offload_priority: int
    max_events: int


class Guesser:
    """Drafts that are right for a while, and then wrong."""

    def __init__(self) -> None:
        self.most_right = 0

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        self.most_right = (self.most_right + 1) % 4
        drafts: list[int] = []
        for number in range(min(most, 3)):
            right = token_after([*sequence.token_ids, *drafts], sequence.index)
            drafts.append(right if number < self.most_right else 0)
        return drafts


class CountedDelay(SharedPage):
    times = 0

    def puts_off(self, sequence: Sequence, found: int, inside: Inside) -> bool:
        puts_off = super().puts_off(sequence, found, inside)
        self.times += puts_off
        return puts_off


class World:
    """A fake engine under fire. Each public method is a rule."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.delay = setup, CountedDelay() if setup.delay else None
        self.engine = FakeEngine(
            page_size=setup.page_size,
            num_pages=setup.num_pages,
            budget=setup.budget,
            max_sequences=setup.max_sequences,
            max_context=setup.max_context,
            max_overtakes=setup.max_overtakes,
            order=ORDERS[setup.order](),
            admission=ADMISSIONS[setup.admission](),
            victim=VICTIMS[setup.victim],
            delay=self.delay,
            swap=setup.swap,
            mixed=setup.mixed,
            drafter=Guesser() if setup.guesses else None,
            cache=setup.cache,
            manager=MANAGERS[setup.manager],
            max_events=setup.max_events,
            settings={
                "num_host_pages": setup.num_host_pages,
                "partial_hits": setup.partial_hits,
                "window": setup.window,
                "eviction": setup.eviction,
                "last_freed_first": setup.last_freed_first,
                "whole_sequences": setup.whole_sequences,
                "min_offload_priority": setup.min_offload_priority,
            },
        )
        self.longest: dict[str, int] = {}  #: request -> tokens that each of its sequences may come to have
        self.seen: Counter[str] = Counter()

    def add(self, choose: Choose) -> None:
        """A request that begins like others; some go on with what was said before, some can never be served."""
        requests, longest = self.engine.requests, self.engine.scheduler.max_sequence_tokens
        if requests and choose(4) == 0:
            prompt = list(requests[choose(len(requests))].sequences[0].token_ids)
        else:
            prompt = [choose(2)] * choose(min(longest, 4 * self.setup.page_size) + 1)
        prompt += [choose(3) for _ in range(choose(3))]
        most = 2 + choose(min(longest, 4 * self.setup.page_size) + 1)
        max_tokens = (None, 1, most, most)[choose(4)]
        n, priority, salt = (1, 1, 1, 2, 3)[choose(5)], choose(3), (None, None, "tenant")[choose(3)]
        num_tokens = len(prompt) + (max_tokens or 1)
        possible = bool(prompt) and num_tokens <= longest and n <= self.setup.max_sequences
        if choose(6) == 0:
            wish: dict[str, object] = {"beam_width": n}
        else:
            stops, min_tokens = [STOP_ID] if choose(2) else [], choose(3) if max_tokens != 1 else 0
            wish = {"n": n, "stop_token_ids": stops, "min_tokens": min_tokens}
        retention = (Retention(choose(101), choose(4), (None, 8)[choose(2)]),) if choose(4) == 0 else ()
        try:
            request = self.engine.add(prompt, max_tokens, priority=priority, salt=salt, retention=retention, **wish)
        except InvalidRequest:
            assert not possible, f"a request of {num_tokens} tokens, n={n}, was refused"
            self.seen["refused"] += 1
        else:
            assert possible, f"a request of {num_tokens} tokens, n={n}, was accepted"
            self.longest[request.id] = longest if max_tokens is None else num_tokens
            self.seen["added"] += 1

    def step(self, choose: Choose) -> None:
        if self.engine.scheduler.has_work:
            could = {sequence for sequence in self.engine.scheduler.running if not sequence.awaits}
            plan = self.engine.step()
            left_out = could - {chunk.sequence for chunk in plan.chunks} - set(plan.preempted)
            self.seen["stood still"] += 0 if self.setup.mixed else len(left_out)
            self.seen["preempted"] += len(plan.preempted)
            self.seen["copies"] += len(plan.copies)
            self.seen["drafted"] += sum(len(chunk.drafts) for chunk in plan.chunks)
            self.seen["mixed"] += len({chunk.num_tokens == 1 for chunk in plan.chunks}) == 2

    def fail(self, choose: Choose) -> None:
        if self.engine.scheduler.has_work:
            self.engine.step(fails=True)
            self.seen["failed"] += 1

    def abort(self, choose: Choose) -> None:
        unfinished = [request for request in self.engine.requests if not request.finished]
        if unfinished:
            self.engine.abort(unfinished[choose(len(unfinished))])
            self.seen["aborted"] += 1

    def pin(self, choose: Choose) -> None:
        """Whatever is pinned, everybody ends: a pin that stands in somebody's way is refused."""
        if self.engine.pins and choose(2):
            self.engine.unpin(list(self.engine.pins)[choose(len(self.engine.pins))])
        elif self.engine.requests:
            request = self.engine.requests[choose(len(self.engine.requests))]
            try:
                self.engine.pin(request.sequences[0].token_ids, request.salt)
            except (InvalidRequest, OutOfPages):
                self.seen["not pinned"] += 1
            else:
                self.seen["pinned"] += 1

    def drain(self, choose: Choose) -> None:
        """No more arrivals: everyone ends in a bounded number of steps, having said what it would have said alone."""
        waiting = [request for request in self.engine.requests if not request.finished]
        # The first in line gets on by a token a step, and all others may come before the last; beams take turns.
        width = max((max(r.params.n, r.params.beam_width or 1) for r in waiting), default=1)
        # Where prompts are computed alone, every second step is theirs.
        bound = sum(width * width * self._most_tokens(request) for request in waiting) * (1 + len(waiting))
        bound *= 1 if self.setup.mixed else 2
        while self.engine.scheduler.has_work:
            assert bound > -10, f"{self.engine.scheduler.running} run on and on"
            self.engine.step()
            bound -= 1
        for name in list(self.engine.pins):
            self.engine.unpin(name)
        self.engine.prove_idle()
        for request in self.engine.requests:
            if request.params.beam_width:
                self._prove_beams(request)
                continue
            for sequence in request.sequences:
                self._prove_output(request, sequence)
                self.seen["hits"] += sequence.num_cached > 0
        for what in ("offloads", "returns", "swaps"):
            self.seen[what] = getattr(self.engine.manager.stats, what)
        self.seen["put off"] = self.delay.times if self.delay else 0
        self.seen["drained"] += 1
        self.engine.requests.clear()

    def _most_tokens(self, request: Request) -> int:
        return self.longest[request.id]

    def _prove_output(self, request: Request, sequence: Sequence) -> None:
        alone = list(request.prompt_ids)
        why = FinishReason.LENGTH
        while len(alone) < self._most_tokens(request):
            alone.append(token_after(alone, sequence.index))
            may_stop = len(alone) >= request.num_prompt + request.params.min_tokens
            if may_stop and alone[-1] in request.params.stop_token_ids:
                why = FinishReason.STOP
                break
        if sequence.finish_reason in (FinishReason.ABORT, FinishReason.ERROR):
            assert sequence.token_ids == alone[: sequence.num_tokens]
        else:
            assert (sequence.token_ids, sequence.finish_reason) == (alone, why)
        if request.params.n > 1 and sequence.finish_reason is FinishReason.LENGTH:
            assert len(request.sequences) == request.params.n
        self.seen["ended"] += 1

    def _prove_beams(self, request: Request) -> None:
        """Those of a search that has all the memory in the world."""
        reasons = {beam.finish_reason for beam in request.sequences}
        if reasons != {FinishReason.LENGTH}:
            assert reasons == {FinishReason.ABORT} or reasons == {FinishReason.ERROR}, reasons
            return
        beams = [(0.0, list(request.prompt_ids))]
        while len(beams[0][1]) < self._most_tokens(request):
            scored = [(total + score, [*tokens, t]) for total, tokens in beams for score, t in offers(tokens)]
            beams = sorted(scored, key=lambda offer: -offer[0])[: request.params.beam_width]
        assert sorted(beam.token_ids for beam in request.sequences) == sorted(tokens for _, tokens in beams)
        self.seen["searched"] += 1


#: How often each rule is tried, beside the others.
WEIGHTS = {World.add: 34, World.step: 60, World.abort: 2, World.fail: 2, World.drain: 2, World.pin: 4}


def random_setup(choose: Choose) -> Setup:
    def one_of(names: Sequence_[str]) -> str:
        return names[choose(len(names))]

    page_size = (*range(1, 9), 16)[choose(9)]
    num_host_pages = (0, 3, 40)[choose(3)]
    return Setup(
        page_size=page_size,
        num_pages=(2 + choose(8), 4 + choose(8), 6 + choose(16), 64)[choose(4)],
        budget=1 + choose(64),
        max_sequences=1 + choose(8),
        max_context=(120, 2 + choose(60))[choose(2)],
        max_overtakes=(1, 4, 256)[choose(3)],
        order=one_of(("fcfs", "fcfs", *ORDERS)),
        admission=one_of(("max_utilisation", "max_utilisation", *ADMISSIONS)),
        victim=one_of(("last_in_line", *VICTIMS)),
        cache=(None, "hash", "hash", "radix")[choose(4)],
        num_host_pages=num_host_pages,
        swap=num_host_pages > 0 and choose(2) == 0,
        partial_hits=choose(2) == 0,
        window=(None, None, None, 1 + choose(3 * page_size))[choose(4)],
        eviction=one_of(list(EVICTION_ORDERS)),
        guesses=choose(3) == 0,
        delay=choose(2) == 0,
        mixed=choose(3) > 0,
        manager=one_of(("at once", *MANAGERS)),
        last_freed_first=choose(2) == 0,
        whole_sequences=choose(3) == 0,
        min_offload_priority=(0, 0, 35, 60)[choose(4)],
        max_events=(1_000_000, 256)[choose(2)],
    )


def run(num_steps: int, seed: int, advance: Callable[[float], None] = lambda amount: None) -> Counter[str]:
    """At least so many steps, in worlds of a hundred or so each. Returns what was seen."""
    seen: Counter[str] = Counter()
    while seen["steps"] < num_steps:
        rng = random.Random(f"{seed} {seen['worlds']}")
        world = World(random_setup(rng.randrange))
        try:
            while world.engine.num_steps < 100:
                rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0](world, rng.randrange)
            world.drain(rng.randrange)
        except Exception as error:
            error.add_note(f"{world.setup}, world {seen['worlds']} of seed {seed}")
            raise
        seen += world.seen
        seen["steps"] += world.engine.num_steps
        seen["worlds"] += 1
        advance(world.engine.num_steps)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Random requests on the scheduler, each step proved right.")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with progress_bar("Steps", options.steps) as advance:
        seen = run(options.steps, options.seed, advance)
    print(", ".join(f"{count:,} {what}" for what, count in seen.most_common()))


if __name__ == "__main__":
    main()
