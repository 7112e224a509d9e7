"""One budget, no phases.

A sequence has ``num_tokens`` tokens, of which ``num_computed`` are computed. A scheduler need not know more: one that
lacks 500 tokens is in what others call prefill, one that lacks a single token decodes, and both are served by the same
rule. Each step has a budget of tokens. It goes

1. to the running sequences, in their order: each gets as many of the tokens it lacks as the budget still holds;
2. then, if budget and places are left, to the waiting ones, in their order, by the same rule.

With a budget of 8, A decoding (9 of 10 tokens computed), B in its prompt (4 of 7), C waiting with a prompt of 20:

    A 9:10    B 4:7    C 0:4        1 + 3 + 4 = 8 tokens

A *chunk* is (sequence, start, stop): compute tokens ``start`` to ``stop - 1``. There are no empty chunks.
"""

from dataclasses import dataclass


@dataclass
class Sequence:
    """Written already. The engine's own sequences have these two numbers too."""

    name: str
    num_tokens: int
    num_computed: int = 0


Chunk = tuple[Sequence, int, int]


def share_out(running: list[Sequence], waiting: list[Sequence], budget: int, places: int) -> list[Chunk]:
    """The chunks of the next step, in the order in which they were given out.

    ``places``: how many may run at once, the running ones included. Nothing is changed: neither list, no sequence.
    """
    # BEGIN SOLUTION
    chunks = []
    for sequence in running + waiting[: max(0, places - len(running))]:
        start = sequence.num_computed
        stop = min(sequence.num_tokens, start + budget)
        if stop > start:
            chunks.append((sequence, start, stop))
            budget -= stop - start
    return chunks
    # END SOLUTION


# Why: `min(what it lacks, what is left)` is chunked prefill, decode and recomputation after a preemption, all at once.
# vLLM's V1 scheduler works so. One rule that covers three cases has a third of the places in which a bug can live.
