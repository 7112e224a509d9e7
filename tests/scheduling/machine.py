"""Random arrivals, aborts and failures on the scheduler, every step of it proved by the fake engine.

python -m tests.scheduling.machine --steps 200000
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from pagedlab.errors import InvalidRequest
from pagedlab.progress import progress_bar
from pagedlab.scheduling.policy import FirstComeFirstServed, Priority
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from tests.memory.world import Choose
from tests.scheduling.fake_engine import FakeEngine, token_after

#: One of the tokens that the fake engine says.
STOP_ID = 103


class Setup(NamedTuple):
    page_size: int
    num_pages: int
    budget: int
    max_sequences: int
    max_context: int
    urgent_first: bool
    caching: bool
    max_events: int


class World:
    """A fake engine under fire. Each public method is a rule."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.engine = FakeEngine(
            page_size=setup.page_size,
            num_pages=setup.num_pages,
            budget=setup.budget,
            max_sequences=setup.max_sequences,
            max_context=setup.max_context,
            policy=Priority() if setup.urgent_first else FirstComeFirstServed(),
            caching=setup.caching,
            max_events=setup.max_events,
        )
        self.longest = min(setup.max_context, setup.page_size * setup.num_pages + 1)
        self.seen: Counter[str] = Counter()

    def add(self, choose: Choose) -> None:
        """A request that begins like others; some go on with what was said before, some can never be served."""
        requests = self.engine.requests
        if requests and choose(4) == 0:
            prompt = list(requests[choose(len(requests))].sequences[0].token_ids)
        else:
            prompt = [choose(2)] * choose(min(self.longest, 4 * self.setup.page_size) + 1)
        prompt += [choose(3) for _ in range(choose(3))]
        most = 2 + choose(min(self.longest, 4 * self.setup.page_size) + 1)
        max_tokens = (None, 1, most, most)[choose(4)]
        n, priority, salt = (1, 1, 1, 2, 3)[choose(5)], choose(3), (None, None, "tenant")[choose(3)]
        stops, min_tokens = [STOP_ID] if choose(2) else [], choose(3) if max_tokens != 1 else 0
        num_tokens = len(prompt) + (max_tokens or 1)
        possible = bool(prompt) and num_tokens <= self.longest and n <= self.setup.max_sequences
        try:
            self.engine.add(
                prompt, max_tokens, n=n, priority=priority, salt=salt, stop_token_ids=stops, min_tokens=min_tokens
            )
        except InvalidRequest:
            assert not possible, f"a request of {num_tokens} tokens, n={n}, was refused"
            self.seen["refused"] += 1
        else:
            assert possible, f"a request of {num_tokens} tokens, n={n}, was accepted"
            self.seen["added"] += 1

    def step(self, choose: Choose) -> None:
        if self.engine.scheduler.has_work:
            plan = self.engine.step()
            self.seen["preempted"] += len(plan.preempted)
            self.seen["copies"] += len(plan.copies)
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

    def drain(self, choose: Choose) -> None:
        """No more arrivals: everyone ends in a bounded number of steps, having said what it would have said alone."""
        waiting = [request for request in self.engine.requests if not request.finished]
        # The first in line gets on by a token a step. It stays first until it ends, unless a more urgent one comes in.
        bound = sum(request.params.n * self._most_tokens(request) for request in waiting)
        if self.setup.urgent_first:
            bound *= 1 + len(waiting)
        self.engine.run(max_steps=bound)
        for request in self.engine.requests:
            for sequence in request.sequences:
                self._prove_output(request, sequence)
                self.seen["hits"] += sequence.num_cached > 0
        self.seen["drained"] += 1
        self.engine.requests.clear()

    def _most_tokens(self, request: Request) -> int:
        return min(self.longest, request.num_prompt + (request.params.max_tokens or self.longest))

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


#: How often each rule is tried, beside the others.
WEIGHTS = {World.add: 34, World.step: 60, World.abort: 2, World.fail: 2, World.drain: 2}


def random_setup(choose: Choose) -> Setup:
    return Setup(
        page_size=(*range(1, 9), 16)[choose(9)],
        num_pages=(2 + choose(8), 4 + choose(8), 6 + choose(16), 64)[choose(4)],
        budget=1 + choose(64),
        max_sequences=1 + choose(8),
        max_context=(120, 2 + choose(60))[choose(2)],
        urgent_first=bool(choose(2)),
        caching=choose(4) > 0,
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
