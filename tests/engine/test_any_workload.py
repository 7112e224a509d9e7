"""One oracle test to rule them all: whatever is asked of the engine, its tokens are those of a plain loop."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.engine.workload import Workload, serve, workloads


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(workloads())
def test_whatever_the_workload_the_tokens_are_those_of_a_plain_loop(workload: Workload) -> None:
    """Behaviours 22, 25, 29 and 33 to 35, all at once."""
    serve(workload)
