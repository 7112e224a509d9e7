"""Faults on purpose: each one-line fault below must be noticed by a quick part of the tests (behaviour 40).

A mutant is a copy of the package in which one piece of text is replaced. It is caught when one of the commands fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]

#: From quick and broad to slow and exact; the first that fails has caught the mutant.
COMMANDS = [
    "-m tests.memory.machine --operations 3000 --seed 5",
    "-m tests.scheduling.machine --steps 2000 --seed 5",
    "-m pytest -x -q -p no:cacheprovider tests/memory/test_prefix_cache.py tests/memory/test_allocation.py "
    "tests/memory/test_trace.py tests/memory/test_pool.py tests/memory/test_table.py",
    "-m pytest -x -q -p no:cacheprovider tests/scheduling/test_scheduler.py tests/scheduling/test_refusals.py",
]


CASES = [pytest.param(file, mutant, id=mutant.fault) for file, mutants in MUTANTS.items() for mutant in mutants]


@pytest.fixture(scope="module")
def copy_of_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands need, where it can be spoiled."""
    root = tmp_path_factory.mktemp("mutants")
    for part in ("pagedlab/memory", "pagedlab/scheduling", "tests/memory", "tests/scheduling"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("errors.py", "progress.py"):
        shutil.copy(ROOT / "pagedlab" / name, root / "pagedlab")
    (root / "pagedlab/__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def first_failure(root: Path) -> str | None:
    """What the first command to fail said, or None. Bytecode is not kept: two mutants of a second look alike to it."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    for command in COMMANDS:
        process = [sys.executable, *command.split()]
        try:
            done = subprocess.run(process, cwd=root, env=environment, capture_output=True, text=True, timeout=200)
        except subprocess.TimeoutExpired:
            return "it never ends"
        if done.returncode:
            return done.stdout + done.stderr
    return None


@pytest.mark.slow
def test_without_a_fault_all_commands_pass(copy_of_package: Path) -> None:
    assert first_failure(copy_of_package) is None


@pytest.mark.slow
@pytest.mark.parametrize(("file", "mutant"), CASES)
def test_a_fault_is_noticed(file: str, mutant: Mutant, copy_of_package: Path) -> None:
    path = copy_of_package / "pagedlab" / file
    source = path.read_text()
    assert source.count(mutant.old) == 1, f"{mutant.old!r} stands {source.count(mutant.old)} times in {file}"
    spoiled = source.replace(mutant.old, mutant.new)
    compile(spoiled, file, "exec")
    path.write_text(spoiled)
    try:
        failure = first_failure(copy_of_package)
    finally:
        path.write_text(source)
    assert failure is not None, f"nobody noticed that {mutant.fault}"
    assert "ImportError" not in failure and "NameError" not in failure, failure
