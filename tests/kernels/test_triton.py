"""Triton without a GPU: interpreted in one child process, compiled in another."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = "bench/results/compiled_kernels.json"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton has wheels for Linux only")


def in_a_child(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_interpreted_kernels_pass_their_tests() -> None:
    done = in_a_child("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernels/interpreted", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "most_shared"), [("sm_80", 163), ("sm_90", 227), ("sm_100", 227), ("gfx942", 64)])
def test_the_kernels_compile_for_gpus_that_are_not_here_without_spilling(target: str, most_shared: int) -> None:
    """``most_shared``: KiB that one program may have of the memory that its threads share."""
    done = in_a_child("-m", "tests.kernels.compile_offline", target, TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr[-4000:]
    report, kept = json.loads(done.stdout), json.loads((ROOT / TABLE).read_text(encoding="utf-8"))
    rows = report["rows"]
    assert {entry["target"] for entry in rows} == {target} and len(rows) > 20
    for entry in rows:
        assert entry["spilled"] == 0, f"registers spill: {entry}"
        assert entry["registers"] > 0 and entry["instructions"] > 0
        assert entry["shared"] <= most_shared * 1024
    # Another version of Triton compiles to other numbers: of those, only the bars above are asked.
    if report["triton"] == kept["triton"]:
        stale = f"python -m tests.kernels.compile_offline --json {TABLE} writes the table anew"
        assert rows == [entry for entry in kept["rows"] if entry["target"] == target], stale


def test_triton_without_a_gpu_says_how_to_interpret_it() -> None:
    program = (
        "import torch; torch.cuda.is_available = lambda: False\n"
        "from pagedlab_kernels import get_attention\n"
        "try: get_attention('triton')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = in_a_child("-c", program, TRITON_INTERPRET="0")
    assert "KernelUnavailable" in done.stdout and "TRITON_INTERPRET=1" in done.stdout


def test_kernels_that_are_compiled_cannot_be_traced_and_the_error_says_what_to_set() -> None:
    program = (
        "from pagedlab_kernels.trace_kernel import trace_kernel\n"
        "try: trace_kernel().__enter__()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = in_a_child("-c", program, TRITON_INTERPRET="0")
    assert "KernelUnavailable" in done.stdout and "TRITON_INTERPRET=1 before Python starts" in done.stdout


def test_an_interpreter_that_is_chosen_too_late_is_refused_with_the_reason() -> None:
    program = (
        "import os, triton\n"
        "os.environ['TRITON_INTERPRET'] = '1'\n"
        "from pagedlab_kernels import get_attention\n"
        "try: get_attention('triton')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = in_a_child("-c", program, TRITON_INTERPRET="0")
    assert "KernelUnavailable" in done.stdout and "imported before" in done.stdout
