from __future__ import annotations

from pathlib import Path

import pytest

from pagedlab.learn import progress, workbook


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the progress of whoever runs it."""
    path = tmp_path / "progress" / "progress.json"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workbook of untouched stubs."""
    folder = tmp_path / "exercises"
    workbook.init(folder)
    monkeypatch.setenv(workbook.VARIABLE, str(folder))
    return folder
