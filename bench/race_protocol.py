"""How the race speaks with an engine that runs in a process of its own: a line of JSON each way, by turns.

    -> (started)                                    <- {"engine": "vllm", "version": "0.32.0"}  or  {"absent": why}
    -> {"folder": …, "threads": 1, …}              <- {"settings": "eager, float32"}
    -> {"prompts": [[…]], "new_tokens": 64}         <- {"seconds": 9.1, "first_token": [2.3, …], "outputs": [[…]]}
    -> (closed)                                     (ends)

An exception is answered ``{"error": …}``. A runner is a file that imports its engine, the workloads and this; its
standard output belongs to the protocol, and what the engine prints goes to standard error.

Only the standard library is imported here, so that the file is read in the environment of any peer.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setup:
    """What an engine is built from. ``folder`` and ``gguf`` hold the same weights, in float32."""

    folder: str  #: config.json and model.safetensors, as Hugging Face writes them
    gguf: str  #: the same for llama.cpp
    quantised: str  #: the GGUF file that both were unpacked from
    threads: int
    max_context: int  #: no prompt and its output are longer together
    max_requests: int  #: no workload has more of them


#: Prompts and how many new tokens each is to get -> those tokens, and when each request had its first one
#: (``time.perf_counter``, all in the order of the prompts).
Generate = Callable[[list[list[int]], int], tuple[list[list[int]], list[float]]]
#: Builds the engine; returns it and, in words, how it was set.
Load = Callable[[Setup], tuple[Generate, str]]


def serve(engine: str, distribution: str, load: Load) -> None:
    """A runner's whole life. ``engine`` is the module that must import, ``distribution`` what pip calls it."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    try:
        import_module(engine)
    except Exception as error:  # a compiled module that does not fit the machine raises anything
        say({"absent": f"{type(error).__name__}: {error} ({Path(sys.executable)})"})
        return
    say({"engine": engine, "version": version(distribution)})
    generate: Generate | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if generate is None:
                generate, settings = load(Setup(**asked))
                say({"settings": settings})
            else:
                say(_timed(generate, asked["prompts"], asked["new_tokens"]))
        except Exception as error:
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})


def _timed(generate: Generate, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
    start = time.perf_counter()
    outputs, first = generate(prompts, new_tokens)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "first_token": [moment - start for moment in first], "outputs": outputs}
