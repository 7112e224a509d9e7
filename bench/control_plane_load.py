"""The load that both engines are put under: sequences that each get one token a step, and prompts that hit."""

from __future__ import annotations

PAGE_SIZE = 16
#: Steps in a round: every sequence crosses into a new page twice.
STEPS = 2 * PAGE_SIZE
POOL = 1_000_000
CONTEXT = 1024
BATCHES = (1, 64, 512, 4096)
#: Pages that are cached, and how many of them the prompt begins with.
MATCHES = (
    *((cached, 64) for cached in (1_000, 10_000, 100_000, 900_000)),
    *((10_000, matched) for matched in (1, 16, 256, 1024, 8192)),
)
GROW = "cache manager alone: a token more"
MATCH = "cache manager alone: a prompt that hits"


def prompt(number: int, context: int) -> list[int]:
    """Unlike any other from its first token on. Lengths differ, so that pages fill up in different steps."""
    tokens = [(number * 31 + position) % 251 for position in range(context - number % PAGE_SIZE)]
    tokens[:2] = divmod(number, 251)
    return tokens


def passer_by(number: int, num_tokens: int) -> list[int]:
    """A prompt that leaves ``num_tokens`` tokens cached, and one more: something must be computed."""
    return [1_000_000 + number, *(position % 251 for position in range(num_tokens))]


def hitting_prompt(matched: int) -> list[int]:
    """A prompt of whose pages ``matched`` can be hit."""
    return passer_by(-1, matched * PAGE_SIZE)
