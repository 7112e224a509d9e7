"""Check your exercises with pytest: ``pytest exercises``, or one of them: ``pytest exercises -k 03.free_queue``."""

import pytest

from pagedlab.learn import check
from pagedlab.learn.exercise import all_exercises


@pytest.mark.parametrize("name", all_exercises())
def test_exercise(name: str) -> None:
    card = check(name)
    if not card.passed:
        pytest.fail(str(card), pytrace=False)
