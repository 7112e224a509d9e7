"""The cache manager under random operations (see world.py): hypothesis for what must shrink, seeds for the bulk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.memory.machine import random_setup, run
from tests.memory.world import Choose, World

OPERATIONS = 200_000
PARTS = 4


class CacheManagerMachine(RuleBasedStateMachine):
    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = World(random_setup(drawing(data)))

    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        self.world.admit(drawing(data))

    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        self.world.extend(drawing(data))

    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        self.world.publish(drawing(data))

    @rule(data=st.data())
    def compute(self, data: st.DataObject) -> None:
        self.world.compute(drawing(data))

    @rule(data=st.data())
    def serve(self, data: st.DataObject) -> None:
        self.world.serve(drawing(data))

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.world.fail(drawing(data))

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        self.world.fork(drawing(data))

    @rule(data=st.data())
    def write_after_fork(self, data: st.DataObject) -> None:
        self.world.write_after_fork(drawing(data))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.world.release(drawing(data))

    @rule(data=st.data())
    def retract(self, data: st.DataObject) -> None:
        self.world.retract(drawing(data))

    @rule(data=st.data())
    def press(self, data: st.DataObject) -> None:
        self.world.press(drawing(data))

    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        self.world.reset(drawing(data))

    @rule(data=st.data())
    def misuse(self, data: st.DataObject) -> None:
        self.world.misuse(drawing(data))


def drawing(data: st.DataObject) -> Choose:
    return lambda n: data.draw(st.integers(0, n - 1))


TestCacheManager = CacheManagerMachine.TestCase
TestCacheManager.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_operation_of_200_000_keeps_every_promise(part: int) -> None:
    seen = run(OPERATIONS // PARTS, seed=part)
    assert seen["operations"] >= OPERATIONS // PARTS
    for what in ("refused", "hits", "copies", "forks", "failed", "resets", "twins", "publish", "extend", "release"):
        assert seen[what] > 100, f"{what} happened {seen[what]} times: the run proves little"


def test_the_long_run_is_one_command() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.memory.machine", "--operations", "500", "--seed", "3"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "operations" in done.stdout
