"""Drafts for speculative decoding: guesses of the next tokens, which one pass of the model then verifies.

Text repeats itself. Where the last few tokens have stood before, what followed them then is a good guess of what
follows now (prompt lookup, Saxena 2023; n-gram speculation in vLLM). A wrong guess costs a row of the step; a right one
saves a step, and neither changes a token.
"""

from __future__ import annotations

import warnings
from typing import Protocol
from weakref import WeakKeyDictionary

from pagedlab.errors import InvalidConfig
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import Sequence


class Drafter(Protocol):
    def propose(self, sequence: Sequence, most: int) -> list[int]:
        """At most ``most`` tokens that may follow those of ``sequence``."""
        ...


def add_drafts(plan: StepPlan, budget: int, drafter: Drafter, manager: CacheManager) -> int:
    """Guesses for those who decode in ``plan``, as far as budget, length and free pages go. Returns the budget left.

    Everybody in the step has what it needs by now: for a guess nobody gives way, and nobody who runs waits.
    """
    for row in plan.samples:
        sequence, chunk = row.sequence, plan.chunks[row.chunk]
        most = min(budget, sequence.request.most_slots - sequence.num_tokens)
        if most < 1 or chunk.num_tokens > 1 or sequence.num_output == 0 or sequence.request.params.beam_width:
            continue  # (at a prompt's end forks are made, which sample from the chunk's last row: a draft's otherwise)
        drafts = _proposed(drafter, sequence, most)
        num_tokens = sequence.num_tokens + len(drafts)
        if drafts and manager.pages_needed(sequence.id, num_tokens) <= manager.num_available:
            manager.extend(sequence.id, num_tokens)
            chunk.stop += len(drafts)
            chunk.drafts = row.drafts = drafts
            budget -= len(drafts)
    return budget


def _proposed(drafter: Drafter, sequence: Sequence, most: int) -> tuple[int, ...]:
    try:
        return tuple(drafter.propose(sequence, most)[:most])
    except Exception as error:  # nobody needs a guess
        warnings.warn(f"a drafter failed: {type(error).__name__}: {error}", stacklevel=2)
        return ()


class _Index:
    """Where each run of ``ngram`` tokens was last followed by another token."""

    def __init__(self) -> None:
        self.follows: dict[tuple[int, ...], int] = {}
        self.read = 0  #: tokens whose runs are in the index


class PromptLookup:
    """``num_drafts`` tokens a step at most, where the last ``ngram`` tokens have stood before."""

    def __init__(self, num_drafts: int = 4, ngram: int = 3) -> None:
        if num_drafts < 1 or ngram < 1:
            raise InvalidConfig(f"num_drafts={num_drafts} and ngram={ngram} were asked for; both are at least 1")
        self.num_drafts, self.ngram = num_drafts, ngram
        self._indexes: WeakKeyDictionary[Sequence, _Index] = WeakKeyDictionary()

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        index = self._indexes.get(sequence)
        if index is None:
            index = self._indexes[sequence] = _Index()
        tokens, size = sequence.token_ids, self.ngram
        for end in range(max(index.read, size), len(tokens)):  # each token is read once, however long the context
            index.follows[tuple(tokens[end - size : end])] = end
        index.read = max(index.read, len(tokens))
        start = index.follows.get(tuple(tokens[-size:]))
        return [] if start is None else tokens[start : start + min(most, self.num_drafts)]
