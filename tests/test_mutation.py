"""Behaviour 40: one-line faults in memory and scheduling, and whether the tests notice them (see mutation.py)."""

from __future__ import annotations

import pytest

from tests.mutation import TABLES, Case, cases, first_failure

CASES = [pytest.param(case, id=f"{case.file}: {case.mutant.fault}") for case in cases()]


def test_there_are_enough_faults_and_no_two_share_a_name() -> None:
    names = [(case.table, case.mutant.fault) for case in cases()]
    assert len(names) == len(set(names)) >= 25


@pytest.mark.parametrize("table", TABLES)
def test_without_a_fault_the_quick_suite_passes(table: str) -> None:
    assert first_failure(table) is None


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_noticed(case: Case) -> None:
    """Behaviour 40."""
    compile(case.spoiled, case.file, "exec")
    failure = first_failure(case.table, case.mutant.fault)
    assert failure is not None, f"nobody noticed that {case.mutant.fault}"
    assert "ImportError" not in failure and "NameError" not in failure, failure
