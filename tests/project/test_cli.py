"""The command line: what a user types, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pagedlab
from pagedlab.__main__ import main


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as a user would."""
    command = [sys.executable, "-m", "pagedlab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


class Here:
    """In this process: torch is imported already, which saves seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *arguments: str) -> tuple[object, str]:
        """Exit status or message, and what was printed."""
        self._monkeypatch.setattr(sys, "argv", ["pagedlab", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        return ended.value.code, printed.out + printed.err


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


def test_help_names_every_command() -> None:
    shown = run("--help").stdout
    for command in ("demo", "doctor", "fetch", "generate", "version"):
        assert command in shown


def test_the_console_script_is_the_same_program() -> None:
    script = shutil.which("pagedlab", path=str(Path(sys.executable).parent))
    assert script is not None
    printed = subprocess.run([script, "version"], capture_output=True, text=True, check=True).stdout
    assert printed == run("version").stdout == f"{pagedlab.__version__}\n"


def test_one_prompt_is_streamed_and_several_are_served_together(smollm2_path: Path, here: Here) -> None:
    knobs = ("--model", str(smollm2_path), "--no-chat", "--max-tokens", "6", "--page-size", "4", "--num-pages", "32")
    status, alone = here.run("generate", "The capital of France is", *knobs)
    assert status == 0, alone
    assert "Paris" in alone
    _, together = here.run("generate", "The capital of France is", "1, 2, 3,", *knobs)
    assert f"[1] {alone.strip()}" in together
    assert "[2]" in together


def test_a_chat_prompt_gets_the_models_own_format(smollm2_path: Path, here: Here) -> None:
    status, answer = here.run("generate", "Say hello.", "--model", str(smollm2_path), "--max-tokens", "12")
    assert status == 0
    assert answer.strip()
    assert "<|im_" not in answer


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("generate", "Hi", "--model", "no-such-model"), "there is no model 'no-such-model'"),
        (("generate", "Hi", "--model", "tiny-random", "--num-pages", "0"), "num_pages=0"),
        (("generate", "Hi", "--model", "tiny-random", "--temperature", "-1"), "temperature=-1.0"),
        (("generate", "Hi", "--model", "tiny-random", "--attention", "telepathy"), "telepathy"),
        (("generate", "Hi", "--model", "tiny-random", "--prefix-cache", "telepathy"), "telepathy"),
        (("generate", "Hi", "--model", "tiny-random", "--dtype", "int3"), "int3"),
        (("fetch", "no-such-model"), "smollm2-135m"),
    ],
)
def test_a_mistake_is_an_error_of_ours(arguments: tuple[str, ...], complaint: str, here: Here) -> None:
    status, printed = here.run(*arguments)
    assert status not in (0, None)
    assert complaint in f"{status} {printed}"


def test_an_error_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    failed = run("fetch", PAGEDLAB_CACHE=str(tmp_path / "cache"), **nowhere)
    assert failed.returncode == 1
    assert failed.stderr.startswith("DownloadFailed: smollm2-135m")
    assert "Traceback" not in failed.stderr
