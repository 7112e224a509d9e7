"""What a reader of the code may rely on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400

#: A folder of somebody's machine: of anybody's home, or this very clone.
SOMEBODYS_PATH = re.compile(rf"(?<![\w.])(?:/(?:root/|home/\w|Users/\w)|{re.escape(str(ROOT))}/)")


def committed_files() -> list[Path]:
    """Files that git knows or would add. Outside a clone: those that are not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [
            path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return sorted(path for path in paths if path.is_file() and path != Path(__file__))


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def problems(text: str) -> list[str]:
    return [f"line {n}: {line[:160]}" for n, line in enumerate(text.splitlines(), 1) if SOMEBODYS_PATH.search(line)]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    found = {str(path.relative_to(ROOT)): problems(text) for path in committed_files() if (text := text_of(path))}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("text", ["open('/home/ada/x')", "File /root/p.py", f'"{ROOT}/a.py"', "/Users/ada/b"])
def test_a_planted_path_is_found(text: str) -> None:
    assert problems(f"fine\n{text}")


def test_no_result_names_a_folder_of_the_machine_it_was_measured_on() -> None:
    folders = re.compile(r"(?<![\w.:/])/\w[\w.-]*/")
    results = [path for path in committed_files() if ROOT / "bench" / "results" in path.parents]
    assert results and {path.name: found for path in results if (found := folders.findall(text_of(path) or ""))} == {}


@pytest.mark.parametrize("text", ["https://example.org/home/page", "notebooks/root/x", "/homes"])
def test_what_only_looks_like_a_path_of_somebodys_is_left_alone(text: str) -> None:
    assert not problems(text)


def test_no_python_file_is_longer_than_a_reader_can_hold() -> None:
    # The sources of notebooks are bounded in cells, by the course's own guard.
    sources = [p for p in committed_files() if p.suffix == ".py" and ROOT / "notebooks" not in p.parents]
    assert len(sources) > 50
    too_long = {str(p.relative_to(ROOT)): n for p in sources if (n := len((text_of(p) or "").splitlines())) > MAX_LINES}
    assert too_long == {}
