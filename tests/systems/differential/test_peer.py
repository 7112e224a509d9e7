"""A peer that is absent is skipped with a reason; one that was asked for and is not there, or dies, is an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.systems.differential.peer import FOLDER, Absent, Peer


def test_what_is_neither_installed_nor_named_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAGEDLAB_NO_SUCH_SYSTEM_PYTHON", raising=False)
    with pytest.raises(Absent, match="no_such_system is not installed here, and PAGEDLAB_NO_SUCH_SYSTEM_PYTHON names"):
        Peer("no_such_system")


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ("def load():\n    import no_such_module\n", "cannot import broken: ModuleNotFoundError"),
        ("import sys\nsys.exit('it fell over')\n", "its process ended with code 1:\nit fell over"),
    ],
)
def test_an_interpreter_that_was_named_must_have_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: str, says: str
) -> None:
    protocol = (FOLDER / "driver.py").read_text(encoding="utf-8")
    (tmp_path / "driver.py").write_text(protocol, encoding="utf-8")
    (tmp_path / "broken_driver.py").write_text(f"from driver import serve\n{driver}serve(load)\n", encoding="utf-8")
    monkeypatch.setattr("tests.systems.differential.peer.FOLDER", tmp_path)
    monkeypatch.setenv("PAGEDLAB_BROKEN_PYTHON", sys.executable)
    with pytest.raises((ImportError, RuntimeError), match=says):
        Peer("broken")
