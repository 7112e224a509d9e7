"""The scheduler under random arrivals, aborts and failures (see machine.py): hypothesis to shrink, seeds in bulk."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.memory.world import Choose
from tests.scheduling.machine import World, random_setup, run


class SchedulerMachine(RuleBasedStateMachine):
    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = World(random_setup(drawing(data)))

    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        self.world.add(drawing(data))

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        self.world.step(drawing(data))

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.world.fail(drawing(data))

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        self.world.abort(drawing(data))

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        self.world.pin(drawing(data))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drain(lambda n: 0)


def drawing(data: st.DataObject) -> Choose:
    return lambda n: data.draw(st.integers(0, n - 1))


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("seed", range(2))
def test_every_accepted_request_ends_and_says_what_it_would_have_said_alone(seed: int) -> None:
    seen = run(20_000, seed)
    assert seen["steps"] >= 20_000
    happened = ("refused", "hits", "mixed", "drained", "copies", "preempted", "aborted", "failed")
    for what in (
        *happened,
        "searched",
        "drafted",
        "offloads",
        "returns",
        "swaps",
        "pinned",
        "not pinned",
        "put off",
        "stood still",
    ):
        assert seen[what] > 50, f"{what} happened {seen[what]} times: the run proves little"
