"""What a trusted KV cache is held to, and which tests show it here: ``python -m tests.behaviours`` prints the table.

The list was gathered from the tests and bug reports of vLLM, SGLang, TensorRT-LLM, TGI, LMDeploy, nano-vllm and
mini-sglang. A test says in its docstring which of them it shows: ``Behaviour 7.`` or ``Behaviours 7, 9 and 11 to 13.``
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

BEHAVIOURS = {
    1: "keys of pages chain all tokens before them, and can be computed again",
    2: "a page that is not full is never published",
    3: "a page is hit while its owner runs",
    4: "a page is hit after its owner has left",
    5: "the free queue has its exact order after pages come back",
    6: "a sequence's tail is evicted before its head",
    7: "pages without content worth keeping are used first",
    8: "a page that is used again forgets what it held",
    9: "pages that an allocation hits are not evicted by it",
    10: "an allocation that fails changes nothing",
    11: "cached pages that are hit count once against what can be had",
    12: "what is predicted is what is allocated",
    13: "of two equal pages one can go and the other be hit",
    14: "at least one token of a prompt is computed, however much is cached",
    15: "a page is published by the step that fills it, not before",
    16: "salts and adapters share nothing",
    17: "without a prefix cache there are no hits and no counts",
    18: "a reset is refused while pages are used, and else forgets all",
    19: "events are exact, and each is delivered once",
    20: "a request that is tried again counts once, a preempted one again",
    21: "queues hold at sizes of none, one and all",
    22: "at the end every reference has been given back",
    23: "equal prompts of one step share, and none of their pages is ever free while one of them runs",
    24: "chunks keep to the budget",
    25: "a preempted sequence keeps what it said and goes on as if nothing had been",
    26: "the victim is who it should be, and ties go by arrival",
    27: "the waiting line keeps its order when somebody in it is passed over",
    28: "stops, min_tokens and max_tokens hold at the ends of pages and chunks",
    29: "pages come back from a request withdrawn at any time",
    30: "a chat's next turn hits pages that the last one generated",
    31: "pages behind a sliding window come back, and never one that is looked at",
    32: "what can never be served is refused, and nothing is wedged",
    33: "drafts that were rejected are never cached",
    34: "forks share full pages and copy the one that is written",
    35: "what was swapped out comes back bit by bit",
    36: "kernels agree with float64 over random page tables, head sizes, groups, lengths and page sizes",
    37: "one split and many agree, and empty ones merge",
    38: "int8, int4 and fp8 stay within their stated bounds",
    39: "what must not be read is poisoned, and is not read",
    40: "faults planted on purpose are noticed",
}


def shown(root: Path = Path(__file__).parent) -> Iterator[tuple[int, str]]:
    """``(behaviour, test)`` of every test that says so."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for number in numbers_in(ast.get_docstring(node) or ""):
                    yield number, f"{path.relative_to(root.parent).as_posix()}::{node.name}"


def numbers_in(docstring: str) -> Iterator[int]:
    for sentence in re.findall(r"\bBehaviours? (\d[\d ,andto]*)", docstring):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", sentence):
            yield from range(int(first), int(last or first) + 1)


def main() -> None:
    tests: dict[int, list[str]] = {}
    for number, test in shown():
        tests.setdefault(number, []).append(test)
    for number, behaviour in BEHAVIOURS.items():
        print(f"{number:2}. {behaviour}")
        for test in tests.get(number, ["no test"]):
            print(f"      {test}")


if __name__ == "__main__":
    main()
