"""How a differential test speaks with another system's control plane, which runs in a process of its own.

A line of JSON each way, by turns:

    <- {"version": "0.32.0"}                            or  {"absent": why}
    -> {"do": "extend", "name": "3", "tokens": [1, 2]}  <- {"answer": …}  or  {"error": …}

The process is Python with that system in its environment, which has nothing else of ours: only the standard library is
imported here. Its standard output belongs to the protocol; what the system prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: The token with which a request stops by itself. No prompt holds it.
END = 0


def content(tokens: Sequence[int], salt: str | None = None) -> str:
    """What the last page of ``tokens`` holds, in words that both sides use: all tokens up to its end, and the salt."""
    return f"{salt or ''}/{'.'.join(map(str, tokens))}"


def serve(load: Callable[[], tuple[str, object]]) -> None:
    """A driver's whole life. ``load`` imports the system; it returns its version, and whose methods are to be called.

    An ImportError of ``load`` says that the system is absent.
    """
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    try:
        version, plane = load()
    except ImportError as error:
        say({"absent": f"{type(error).__name__}: {error} ({Path(sys.executable)})"})
        return
    say({"version": version})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            say({"answer": getattr(plane, asked.pop("do"))(**asked)})
        except Exception as error:
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})
