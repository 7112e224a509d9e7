"""pagedlab doctor says what works, and how to mend what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pagedlab import doctor


def findings() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def run_doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pagedlab", "doctor"], capture_output=True, text=True, env=os.environ | environment
    )


def test_a_complete_set_up_is_ok_in_every_line(smollm2_path: Path) -> None:
    run = run_doctor()
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert all(line.startswith("OK ") for line in lines)
    for name in (
        "Python",
        "torch",
        "jupyterlab",
        "anywidget",
        "CPU kernel",
        "Triton",
        "widgets",
        "model",
        "free memory",
    ):
        assert any(line.split("OK", 1)[1].strip().startswith(name) for line in lines), name


def test_a_missing_model_is_a_fail_with_its_mend_and_an_exit_status(tmp_path: Path) -> None:
    run = run_doctor(PAGEDLAB_CACHE=str(tmp_path))
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("FAIL")]
    assert "model" in lines[at]
    assert lines[at + 1].strip() == "-> pagedlab fetch"


def test_a_truncated_model_is_a_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smollm2_path: Path) -> None:
    (tmp_path / smollm2_path.name).write_bytes(b"GGUF")
    monkeypatch.setenv("PAGEDLAB_CACHE", str(tmp_path))
    assert not findings()["model"].ok


def test_a_check_that_breaks_is_a_finding_and_the_rest_is_still_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pagedlab_kernels", None)  # importing it raises from now on
    found = findings()
    assert not found["CPU kernel"].ok
    assert found["CPU kernel"].mend
    assert found["free memory"].ok


def test_a_package_that_is_missing_or_too_old_is_a_fail() -> None:
    with pytest.raises(doctor.Fault, match="not installed"):
        doctor.package(Requirement("no-such-package>=1"))
    with pytest.raises(doctor.Fault, match="<1 is needed"):
        doctor.package(Requirement("numpy<1"))


def test_missing_widget_extensions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *parts: [str(tmp_path)])
    with pytest.raises(doctor.Fault, match="anywidget"):
        doctor.widgets()


def test_too_little_memory_is_a_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ENOUGH_MEMORY", 2**60)
    with pytest.raises(doctor.Fault, match="GiB"):
        doctor.free_memory()


def test_where_triton_is_not_made_its_absence_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "can be read here" in doctor.triton()
