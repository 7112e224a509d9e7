"""What the documents say holds."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("exercises/**/*.md"), *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert missing == []


def test_every_make_target_that_is_named_exists() -> None:
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for document in DOCUMENTS:
        named = set(re.findall(r"(?:`|^)make ([a-z]+)", document.read_text(encoding="utf-8"), re.M))
        assert named <= rules, document


def test_the_examples_of_the_readme_run(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(first, names)
    assert [output.finished for output in names["outputs"]] == [True, True]
    assert "Paris" in capsys.readouterr().out
    with ThreadPoolExecutor(1) as elsewhere:  # an event loop may run in this thread: the browser tests' one stays
        elsewhere.submit(exec, second, {}).result()
    assert set(json.loads(capsys.readouterr().out)) == {"name", "people"}
    exec(third, names)
    assert len(names["results"].requests) >= 500
    assert "ttft" in capsys.readouterr().out


def test_the_changelog_knows_this_version() -> None:
    import pagedlab

    headings = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[0] == "Unreleased" or headings[0] == pagedlab.__version__
