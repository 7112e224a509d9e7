"""What is imported is declared, and the two files that declare it agree."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.floors import SOURCES, all_imports

ROOT = Path(__file__).resolve().parents[2]

#: conda-forge's names, where they are not PyPI's.
CONDA_NAMES = {"pytorch": "torch"}

#: Tells which distribution brings a module, where the names differ.
DISTRIBUTIONS = {
    "IPython": "ipython",
    "huggingface_hub": "huggingface-hub",
    "jupyter_core": "jupyterlab",
    "PIL": "pillow",
}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def comparable(text: str) -> tuple[str, str, str]:
    requirement = Requirement(text)
    return canonicalize_name(requirement.name), str(requirement.specifier), str(requirement.marker or "")


def declared() -> list[str]:
    """Everything that pyproject.toml asks for, extras included."""
    return project()["dependencies"] + [text for extra in project()["optional-dependencies"].values() for text in extra]


def test_environment_yml_asks_for_what_pyproject_asks_for() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (from_pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert from_pip[-1] == "--editable ."
    from_conda = [entry.split(" ") for entry in dependencies if isinstance(entry, str)]
    wanted = [
        CONDA_NAMES.get(name, name) + "".join(limits) for name, *limits in from_conda if name not in ("python", "pip")
    ]
    for_all = [text for text in declared() if text not in project()["optional-dependencies"]["lite"]]
    assert sorted(map(comparable, wanted + from_pip[:-1])) == sorted(map(comparable, for_all))


def test_environment_yml_takes_a_python_that_pyproject_takes() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    versions = Requirement(dependencies[0].replace(" ", "")).specifier
    stated = [line.rpartition(" ")[2] for line in project()["classifiers"] if "Python :: 3." in line]
    tried = [f"3.{minor}" for minor in range(8, 20)]
    assert [version for version in tried if versions.contains(version)] == stated


def test_every_dependency_has_a_floor_and_a_ceiling() -> None:
    for text in declared():
        operators = {limit.operator for limit in Requirement(text).specifier}
        assert operators == {">=", "<"}, text


def test_what_the_packages_import_is_declared() -> None:
    names = {canonicalize_name(Requirement(text).name) for text in declared()}
    for step in all_imports(ROOT):
        top = step.imported.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in SOURCES:
            assert canonicalize_name(DISTRIBUTIONS.get(top, top)) in names, f"{step.importer}:{step.line} imports {top}"
