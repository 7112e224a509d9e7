"""The GPU suite, as far as it goes without one: its cases are right, its report counts, and it says what it lacks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton has wheels for Linux only")
if find_spec("triton") is not None:
    from bench.gpu_attention import Result, shapes
    from bench.gpu_cases import HEADS, Heads, Shape, a_case
    from bench.gpu_report import fastest_peer, ratio, shape_of, show, verdicts
    from pagedlab_kernels.reference import gather_attention

ROOT = Path(__file__).parents[2]
TINY = ("tiny", 6, 2, 16)


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.gpu_attention", *options]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_everybody_who_can_attend_on_a_cpu_is_right_on_small_shapes() -> None:
    done = run("--check", "--quick", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": pagedlab: right") == 4
    assert done.stdout.count(": SDPA, math: right") >= 2
    assert "pages in int8 are ours alone" in done.stdout


def test_without_a_gpu_the_suite_says_so() -> None:
    done = run("--quick")
    assert done.returncode == 2
    assert "needs a GPU" in done.stderr and "--check" in done.stderr


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8", "fp8"])
@pytest.mark.parametrize("rows", [1, 5])
def test_pages_and_contiguous_tensors_hold_the_same_numbers(kv_dtype: str, rows: int) -> None:
    case = a_case(Shape(Heads(*TINY), 3, 48, rows, 8, kv_dtype), "cpu")
    attended = gather_attention(case.q, case.kv, case.batch, case.scale)
    assert case.error(attended) < (1e-5 if kv_dtype == "bfloat16" else 0.2)
    assert case.error(attended + 1) > 0.9, "an error is found"
    other = gather_attention(case.q, case.kv, case.batch, case.scale * 2)
    assert case.error(other) > 1e-2


def test_the_shapes_are_those_that_were_asked_for() -> None:
    all_shapes = shapes(quick=False)
    assert len({str(shape) for shape in all_shapes}) == len(all_shapes)
    decodes = [shape for shape in all_shapes if shape.rows == 1 and shape.kv_dtype == "bfloat16"]
    assert {shape.heads for shape in decodes} == set(HEADS) and {shape.page_size for shape in decodes} == {16, 64}
    assert {shape.batch for shape in decodes} >= {1, 256} and {shape.context for shape in decodes} >= {128, 65536}
    assert all(shape.context % shape.page_size == 0 and shape.rows <= shape.context for shape in all_shapes)
    assert 0 < len(shapes(quick=True)) < len(all_shapes)


def a_result(milliseconds: dict[str, float], *, context: int = 8192, batch: int = 64) -> dict[str, Any]:
    result = Result(Shape(HEADS[0], batch, context), milliseconds, {})
    result.finish(3e12)
    return asdict(result)


def test_figures_follow_from_times_and_bytes() -> None:
    result = a_result({"pagedlab": 1.0, "SDPA, flash": 2.0, "FlashInfer": 0.8})
    shape = shape_of(result["shape"])
    assert shape.kv_bytes == 2 * 64 * 8192 * 8 * 128 * 2
    assert result["gigabytes_per_second"] == pytest.approx(shape.kv_bytes / 1e6, rel=1e-3)
    assert result["of_copy"] == pytest.approx(shape.kv_bytes / 1e-3 / 3e12, rel=1e-3)
    assert fastest_peer(result) == "FlashInfer" and ratio(result) == 0.8
    assert ratio(a_result({"pagedlab": 1.0})) is None and ratio(a_result({"SDPA, flash": 1.0})) is None


def test_goals_are_held_against_what_was_measured() -> None:
    good, bad = a_result({"pagedlab": 0.7, "FlashInfer": 0.8}), a_result({"pagedlab": 1.0, "FlashInfer": 0.8})
    report = {"about": {"device": "a GPU"}, "results": [good], "skipped": {}}
    assert all(verdict.endswith(", met") for verdict in verdicts(report).values()), verdicts(report)
    report["results"] = [good, bad, bad]
    assert all(verdict.endswith("not met") for verdict in verdicts(report).values()), verdicts(report)
    short = {"about": {}, "results": [a_result({"pagedlab": 1.0}, context=128)], "skipped": {}}
    assert set(verdicts(short).values()) == {"nothing was measured", "no peer"}


def test_the_table_names_what_was_skipped_and_refused() -> None:
    result = a_result({"pagedlab": 1.0})
    result["refused"] = {"FlashInfer": "it cannot be imported"}
    text = io.StringIO()
    report = {"about": {"device": "a GPU"}, "results": [result], "skipped": {"a huge one": "no time was left"}}
    show(report, Console(file=text, width=160))
    for words in ("a GPU", "it cannot be imported", "a huge one: no time was left", "Llama-3-8B, decode, 64 × 8,192"):
        assert words in text.getvalue()


def test_a_case_is_the_same_for_the_same_seed() -> None:
    shape = Shape(Heads(*TINY), 2, 32)
    a, b, c = (a_case(shape, "cpu", seed) for seed in (1, 1, 2))
    assert torch.equal(a.q, b.q) and torch.equal(a.batch.page_tables, b.batch.page_tables)
    assert not torch.equal(a.q, c.q)
