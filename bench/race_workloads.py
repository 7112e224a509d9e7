"""What is raced: four loads as plain data, the same token ids on every machine and for every engine.

Only the standard library is imported here, so that the file is read in the environment of any peer.

Prompts are random tokens: nobody's prefix cache knows them, and none is text that a model has learnt by heart. Each
round draws its own, or an engine with a prefix cache would find in its second round what it computed in the first.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Requests that all arrive at once. Every output has ``new_tokens`` tokens, greedy, whatever ends a text."""

    name: str
    prompts: list[list[int]]
    new_tokens: int

    @property
    def num_output(self) -> int:
        return len(self.prompts) * self.new_tokens

    @property
    def num_prompt(self) -> int:
        return sum(map(len, self.prompts))

    def warm_up(self) -> Workload:
        """Every shape of prefill and the first of decode, so that nobody's first round pays for what is done once."""
        return Workload(self.name, self.prompts, min(self.new_tokens, 4))


#: What a workload measures, by its name.
MEANING = {
    "decode": "one request: 128 new tokens after a prompt of 32",
    "prefill": "one request: the first token after a prompt of 512",
    "mixed": "16 requests, prompts of 32, 64 … 512 tokens, 64 new tokens each",
    "shared": "64 requests, a system prompt of 256 tokens and 32 of their own, 32 new tokens each",
}


def workloads(round_number: int, vocab_size: int, *, quick: bool = False) -> list[Workload]:
    """The four of MEANING, their tokens drawn for this round; ``quick``: the same in kind, a hundredth in size."""
    # Special tokens stand at an end of every vocabulary, so its middle is drawn from.
    dice = random.Random(f"round {round_number}")  # a number would lose its sign: -1, the warm-up, is not round 1

    def draw(count: int) -> list[int]:
        return [dice.randrange(vocab_size // 4, vocab_size * 3 // 4) for _ in range(count)]

    if quick:
        return [
            Workload("decode", [draw(4)], 8),
            Workload("prefill", [draw(16)], 1),
            Workload("mixed", [draw(4 * number) for number in range(1, 4)], 4),
            Workload("shared", _sharing(draw(16), [draw(4) for _ in range(3)]), 2),
        ]
    return [
        Workload("decode", [draw(32)], 128),
        Workload("prefill", [draw(512)], 1),
        Workload("mixed", [draw(32 * number) for number in range(1, 17)], 64),
        Workload("shared", _sharing(draw(256), [draw(32) for _ in range(64)]), 32),
    ]


def _sharing(system_prompt: list[int], own: list[list[int]]) -> list[list[int]]:
    return [system_prompt + tokens for tokens in own]
