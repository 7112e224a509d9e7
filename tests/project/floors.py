"""The floors of the house, and a reader of imports that tells who climbs.

Every import counts: at the top of a file, inside a function, under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Module or package -> its floor. The longest name that fits decides. A file may import from its own floor and from
#: those below. What every floor uses (errors, progress bars) lies at the bottom; the doors to the house at the top.
FLOORS = {
    "pagedlab.errors": 0,
    "pagedlab.progress": 0,
    "pagedlab.memory": 0,
    "pagedlab.arithmetic": 0,
    "pagedlab.scheduling": 1,
    "pagedlab_kernels": 2,
    "pagedlab.models": 3,
    "pagedlab.engine": 4,
    "pagedlab.systems": 5,
    "pagedlab.simulate": 5,
    "pagedlab.view": 6,
    "pagedlab.learn": 6,
    "pagedlab.serve": 6,
    "pagedlab": 7,  # the package itself: names, imported when they are first used
    "pagedlab.__main__": 7,
    "pagedlab.demo": 7,
    "pagedlab.demo_workload": 7,
    "pagedlab.doctor": 7,
}

#: Arrows that point up on purpose, with the reason.
ALLOWED = {
    # LLM.page_map() is a door from the engine to a view of it: nothing in the engine depends on what it opens.
    ("pagedlab.engine.llm", "pagedlab.view.page_map"),
    # LLM(system="sglang") looks a name up; a preset is knobs, and the engine would be the same without any.
    ("pagedlab.engine.llm", "pagedlab.systems"),
}

#: Floors that import in a blink and run anywhere.
LIGHT = {"pagedlab.errors", "pagedlab.progress", "pagedlab.memory", "pagedlab.arithmetic", "pagedlab.scheduling"} | {
    "pagedlab.systems",
    "pagedlab.simulate",
    "pagedlab.view",
}
HEAVY = {"torch", "numpy", "triton", "transformers"}

SOURCES = {"pagedlab": Path("pagedlab"), "pagedlab_kernels": Path("kernels/pagedlab_kernels")}


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int


def modules(root: Path) -> dict[str, Path]:
    """Name -> file of every module of both packages in the repository at ``root``."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def imports_of(module: str, path: Path, known: set[str]) -> Iterator[Import]:
    """Every import in a file. ``from package import module`` counts as an import of the module."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(module, inner if inner in known else base, node.lineno)


def all_imports(root: Path) -> list[Import]:
    found = modules(root)
    return [step for module, path in found.items() for step in imports_of(module, path, set(found))]


def home(module: str, table: set[str]) -> str | None:
    """The longest entry of ``table`` that the module is, or lies in."""
    while module not in table:
        module, dot, _ = module.rpartition(".")
        if not dot:
            return None
    return module


def floor_of(module: str) -> int | None:
    """None for modules of others, and for our own that have no floor yet."""
    place = home(module, set(FLOORS))
    # Only the package itself is covered by "pagedlab": a new part of the house must be given a floor by name.
    return None if place is None or (place == "pagedlab" and module != "pagedlab") else FLOORS[place]


def violations(root: Path) -> list[str]:
    """What breaks the order of floors, one line each; empty when nothing does."""
    problems = [
        f"{module} has no floor: give it one in {Path(__file__).name}"
        for module in modules(root)
        if floor_of(module) is None
    ]
    for step in all_imports(root):
        low, high = floor_of(step.importer), floor_of(step.imported)
        if low is None:
            continue
        where = f"{step.importer}:{step.line}"
        if high is not None and high > low and (step.importer, step.imported) not in ALLOWED:
            problems.append(f"{where} (floor {low}) imports {step.imported} (floor {high})")
        if home(step.importer, LIGHT) and step.imported.partition(".")[0] in HEAVY:
            problems.append(f"{where} imports {step.imported}; floors 0 and 1 and the views do without")
    return problems
