"""The cache manager under random operations (see world.py): hypothesis for what must shrink, seeds for the bulk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.memory.draws import Choose, random_setup
from tests.memory.machine import WEIGHTS, run
from tests.memory.world import World

OPERATIONS = 80_000
PARTS = 4

#: What must have happened often in every part, or it proves little.
SEEN = (
    "refused", "hits", "copies", "forks", "failed", "resets", "twins", "publish", "extend", "release", "resumed",
    "hits in host memory", "partial hits", "drafted", "pinned", "pages behind the window", "hits behind the window",
    "evicted with others", "not worth host memory",
)  # fmt: skip
SELDOM = ("duplicates", "remapped", "resumed on shared pages")


class CacheManagerMachine(RuleBasedStateMachine):
    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = World(random_setup(drawing(data)))

    @rule(what=st.sampled_from(list(WEIGHTS)), data=st.data())
    def act(self, what: Callable[[World, Choose], None], data: st.DataObject) -> None:
        what(self.world, drawing(data))


def drawing(data: st.DataObject) -> Choose:
    return lambda n: data.draw(st.integers(0, n - 1))


TestCacheManager = CacheManagerMachine.TestCase
TestCacheManager.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_operation_of_80_000_keeps_every_promise(part: int) -> None:
    """Behaviours 10, 11, 12, 22, 31, 33, 34 and 35, over all settings at once."""
    seen = run(OPERATIONS // PARTS, seed=part)
    assert seen["operations"] >= OPERATIONS // PARTS
    for what in SEEN:
        assert seen[what] > 30, f"{what} happened {seen[what]} times: the run proves little"
    for what in SELDOM:
        assert seen[what] > 8, f"{what} happened {seen[what]} times: the run proves little"


def test_the_long_run_is_one_command() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.memory.machine", "--operations", "500", "--seed", "3"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "operations" in done.stdout
