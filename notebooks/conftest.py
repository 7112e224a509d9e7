"""Under nbval, exercises stand as they were handed out, whatever was written into them on this machine."""

from contextlib import ExitStack

import pytest

from tools.notebooks import untouched_exercises

_until_the_end = ExitStack()


def pytest_sessionstart(session: pytest.Session) -> None:
    _until_the_end.enter_context(untouched_exercises())


def pytest_sessionfinish(session: pytest.Session) -> None:
    _until_the_end.close()
