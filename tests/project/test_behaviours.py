"""Every behaviour that a trusted KV cache is held to has a test that bears its number."""

from __future__ import annotations

from tests.behaviours import BEHAVIOURS, numbers_in, shown


def test_every_behaviour_is_shown_by_a_test() -> None:
    missing = set(BEHAVIOURS) - {number for number, _ in shown()}
    assert not missing, f"no test says that it shows {sorted(missing)}"


def test_numbers_are_read_from_a_docstring_as_they_are_meant() -> None:
    assert list(numbers_in("Behaviour 7. Two of 9 pages.")) == [7]
    assert list(numbers_in("Behaviours 8, 22 and 33 to 35, all at once.")) == [8, 22, 33, 34, 35]
    assert list(numbers_in("Nothing of the kind 12.")) == []
