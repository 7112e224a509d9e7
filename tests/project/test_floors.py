"""The floors of design.md: a file imports only from its own floor and those below it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.floors import ALLOWED, all_imports, modules, violations

ROOT = Path(__file__).resolve().parents[2]


def test_no_import_points_up() -> None:
    assert violations(ROOT) == []


def test_every_exception_to_the_floors_is_still_needed() -> None:
    arrows = {(step.importer, step.imported) for step in all_imports(ROOT)}
    assert arrows >= ALLOWED


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        (
            "pagedlab/memory/pool.py",
            "from pagedlab.scheduling.plan import StepPlan",
            "imports pagedlab.scheduling.plan",
        ),
        ("pagedlab/memory/pool.py", "from ..engine import llm", "imports pagedlab.engine"),
        ("pagedlab/memory/pool.py", "def f():\n    import pagedlab.models.llama", "imports pagedlab.models.llama"),
        ("pagedlab/scheduling/plan.py", "if TYPE_CHECKING:\n    from torch import Tensor", "imports torch"),
        ("pagedlab/view/palette.py", "import numpy.typing as npt", "imports numpy.typing"),
        ("kernels/pagedlab_kernels/batch.py", "from pagedlab.models import llama", "imports pagedlab.models"),
        ("pagedlab/scheduling/plan.py", "from pagedlab import LLM", "imports pagedlab (floor 7)"),
        ("pagedlab/attic.py", "x = 1", "pagedlab.attic has no floor"),
    ],
)
def test_a_planted_arrow_that_points_up_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    for path in modules(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    with (tmp_path / file).open("a", encoding="utf-8") as planted:
        planted.write(f"\n{line}\n")
    assert any(complaint in problem for problem in violations(tmp_path))


def modules_after(code: str) -> set[str]:
    """Top-level names of all modules that a fresh Python holds after ``code``."""
    report = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import pagedlab.memory.manager, pagedlab.memory.contiguous, pagedlab.memory.prefix_hash",
        "import pagedlab.scheduling.scheduler",
        "import pagedlab.arithmetic",
        "from pagedlab.systems import SGLang; SGLang().scheduler(1000)",
        "from pagedlab.simulate.simulator import Simulator; import pagedlab.simulate.calibrate; Simulator().run([])",
        "import pagedlab.view.page_map, pagedlab.view.svg, pagedlab.view.html, pagedlab.view.terminal",
        "import pagedlab.__main__, pagedlab.doctor, pagedlab.demo",
        "from pagedlab import CacheManager, PagePool, SamplingParams, Trace",
    ],
)
def test_pages_plans_and_views_are_used_without_torch_and_numpy(code: str) -> None:
    assert modules_after(code) & {"torch", "numpy", "transformers", "triton"} == set()


def test_importing_pagedlab_loads_nothing_that_is_not_pythons_own() -> None:
    # What makes an import slow is what it imports; seconds depend on the machine, and `pagedlab doctor` prints them.
    brought = modules_after("import pagedlab") - modules_after("")
    assert brought - set(sys.stdlib_module_names) <= {"pagedlab"}
