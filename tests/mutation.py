"""Faults on purpose: is each one-line fault in the tables noticed by the quick tests? (Behaviour 40.)

python -m tests.mutation            prints the table; fails when a fault was not noticed
python -m tests.mutation victims    only the faults whose description or file has this word

A mutant is a module in which one piece of text stands in place of another. Each runs in a process of its own, which
loads the spoiled text in place of the file: the file itself is never touched. The tables, tests/*/mutants.py, hold
``MUTANTS`` and ``SUITE``: what must notice them, from quick and broad to slow and exact.
"""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TABLES = ("tests.memory.mutants", "tests.scheduling.mutants")
TIMEOUT = 120  #: seconds after which a mutant counts as caught: it never ends

#: Plugins and the shared fixtures cost more time than the tests, and the folders' own options ask for plugins.
PYTEST = f"pytest -x -q --noconftest -c {os.devnull} --rootdir . -p no:cacheprovider --import-mode=importlib"


class Mutant(NamedTuple):
    fault: str
    old: str  #: stands in the file exactly once
    new: str


class Case(NamedTuple):
    table: str
    file: str  #: under pagedlab/
    mutant: Mutant

    @property
    def spoiled(self) -> str:
        """The file's text with the fault in it. Raises ValueError unless the old text stands in it exactly once."""
        source = (ROOT / "pagedlab" / self.file).read_text()
        if source.count(self.mutant.old) != 1:
            raise ValueError(f"{self.mutant.old!r} stands {source.count(self.mutant.old)} times in {self.file}")
        return source.replace(self.mutant.old, self.mutant.new)


class Spoiler(MetaPathFinder):
    """Imports one module from a text instead of its file."""

    def __init__(self, case: Case) -> None:
        self.path = str(ROOT / "pagedlab" / case.file)
        self.name = f"pagedlab.{case.file.removesuffix('.py').replace('/', '.')}"
        self.code = compile(case.spoiled, self.path, "exec")

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return spec_from_file_location(name, self.path, loader=_Spoiled(name, self.path, self.code))


class _Spoiled(SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def cases() -> Iterator[Case]:
    for table in TABLES:
        if find_spec(table) is None:
            continue
        for file, mutants in importlib.import_module(table).MUTANTS.items():
            for mutant in mutants:
                yield Case(table, file, mutant)


def first_failure(table: str, fault: str = "") -> str | None:
    """What the part of the table's suite said that noticed the fault first; None when nothing did."""
    command = [sys.executable, "-m", "tests.mutation", "--inside", table, fault]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "it never ends"
    return done.stdout + done.stderr if done.returncode else None


def inside(table: str, fault: str) -> None:
    """Run the table's suite in this process, with the fault (if any) in it; leaves by an exception when it fails."""
    for case in cases():
        if (case.table, case.mutant.fault) == (table, fault):
            sys.meta_path.insert(0, Spoiler(case))
    for command in importlib.import_module(table).SUITE:
        module, *arguments = command.split()
        sys.argv = [module, *arguments]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise


def why(failure: str) -> str:
    """The line of a failure that says what was noticed."""
    lines = [line.removeprefix("E").strip() for line in failure.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "Violation" in line or "OutOf" in line]
    return next(iter(reversed(telling)), lines[-1] if lines else "")


def main(words: list[str]) -> int:
    survivors = 0
    for case in cases():
        if any(word not in f"{case.file} {case.mutant.fault}" for word in words):
            continue
        case.spoiled  # raises where the fault has no place in the file any more  # noqa: B018
        started = time.perf_counter()
        failure = first_failure(case.table, case.mutant.fault)
        survivors += failure is None
        verdict = "SURVIVED" if failure is None else f"caught in {time.perf_counter() - started:4.1f} s"
        print(f"{verdict:15} {case.file:26} {case.mutant.fault:44} {why(failure or '')[:100]}", flush=True)
    print(f"{survivors} survived" if survivors else "Every fault was caught.")
    return min(survivors, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:4])
    else:
        sys.exit(main(sys.argv[1:]))
