"""A system's own control plane, in a process of its own: where it is, whether it is there, and how to ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class Absent(Exception):
    """The system is not there; the message says why, and how to bring it."""


class Peer:
    """``PAGEDLAB_<NAME>_PYTHON`` names the interpreter that has the system; else it is sought in this one.

    Raises Absent where it is in neither, and ImportError where the named interpreter cannot import it: what was asked
    for must not pass as absent.
    """

    def __init__(self, name: str) -> None:
        variable = f"PAGEDLAB_{name.upper()}_PYTHON"
        python = os.environ.get(variable)
        if python is None and find_spec(name) is None:
            raise Absent(f"{name} is not installed here, and {variable} names no Python that has it")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        if python is not None:
            environment.pop("PYTHONPATH", None)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process lives)
        self._process = subprocess.Popen(
            [python or sys.executable, str(FOLDER / f"{name}_driver.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            hello = self._hear()
            if "absent" in hello and python is None:
                raise Absent(hello["absent"])
            if "absent" in hello:
                raise ImportError(f"{variable} names {python}, which cannot import {name}: {hello['absent']}")
            self.version = str(hello["version"])
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **details: Any) -> Any:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it died of, _hear tells
            self._process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self._process.stdin.flush()
        answer = self._hear()
        if "error" in answer:
            raise RuntimeError(f"{do}({details}): {answer['error']}\n{self._last_words()}")
        return answer["answer"]

    def close(self) -> None:
        """It leaves when nothing follows, or is made to."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"its process ended with code {self._process.wait()}:\n{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().decode(errors="replace").strip().splitlines()[-12:])
