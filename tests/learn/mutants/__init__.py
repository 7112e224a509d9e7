"""One-line faults in the solutions: ``exercise -> [(what it is, text of the solution, text in its place)]``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

Mutant = tuple[str, str, str]


def all_mutants() -> dict[str, list[Mutant]]:
    found: dict[str, list[Mutant]] = {}
    for info in pkgutil.iter_modules(__path__):
        found |= import_module(f"{__name__}.{info.name}").MUTANTS
    return found
