"""Who may come in. More running sequences use the machine better, until they run out of pages and are thrown out.

Each policy answers one question, whether there is room for one more sequence, from the pages that are left and what
those inside may still need. When nobody runs, whoever is first in line comes in without being asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.request import Sequence


class Inside(Protocol):
    """What an admission policy may ask of the scheduler."""

    @property
    def manager(self) -> CacheManager: ...
    @property
    def running(self) -> list[Sequence]: ...
    @property
    def waiting(self) -> list[Sequence]: ...


class AdmissionPolicy:
    watches_progress = True  #: ``admits`` asks how far some of those inside have come, or which pages they hold

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        raise NotImplementedError

    def step_done(self, inside: Inside, num_preempted: int) -> None:
        """A step was scheduled, for which so many sequences had to give their pages back.

        Unless there were any, how far those inside have come must not matter here.
        """


class MaxUtilisation(AdmissionPolicy):
    """Whoever's next chunk fits comes in (vLLM; TensorRT-LLM's MAX_UTILIZATION). Preemption settles the rest."""

    watches_progress = False

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        return True


class WholePromptFit(AdmissionPolicy):
    """All that is to be computed of the prompt must fit, beside what is left of the prompts inside."""

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        promised = _still_needed(inside, ((other, other.num_tokens) for other in inside.running))
        return promised + _cost(sequence, sequence.num_tokens, inside) <= inside.manager.num_available


class ReserveEverything(AdmissionPolicy):
    """Prompt and max_tokens of everyone inside, as if nothing were shared, fit the pool (Hugging Face TGI)."""

    watches_progress = False

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        pages_for = inside.manager.pages_for
        reserved = sum(other.width * pages_for(other.request.most_slots) for other in (*inside.running, sequence))
        return reserved <= inside.manager.pool.num_pages - inside.manager.num_pinned


class GuaranteedNoEvict(AdmissionPolicy):
    """Only who can finish with the pages that are left comes in, so nobody is ever preempted (TensorRT-LLM).

    Unlike a reservation it knows what is shared and what is cached. (Beams may share less as they go on: for them
    every page of every beam is counted.)
    """

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        promised = _still_needed(inside, ((other, other.request.most_slots) for other in inside.running))
        return promised + _cost(sequence, sequence.request.most_slots, inside) <= inside.manager.num_available


class OptimisticRatio(AdmissionPolicy):
    """Expects everyone to use only a share of its max_tokens (SGLang).

    The share falls from ``initial`` to ``floor`` over ``decay_steps`` quiet steps. When somebody had to give its pages
    back it was too low, and rises to what the running ones have shown, and some more.
    """

    def __init__(self, initial: float = 0.7, floor: float = 0.1, decay_steps: int = 600, more: int = 20) -> None:
        self.ratio, self.floor, self.more = initial, floor, more
        self._decay = (initial - floor) / decay_steps

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        expected = ((other, self._expected(other, inside)) for other in inside.running)
        promised = _still_needed(inside, expected)
        return promised + _cost(sequence, self._expected(sequence, inside), inside) <= inside.manager.num_available

    def step_done(self, inside: Inside, num_preempted: int) -> None:
        if not num_preempted:
            self.ratio = max(self.floor, self.ratio - self._decay)
            return
        output = sum(other.num_output + self.more for other in inside.running)
        allowed = sum(other.request.most_tokens - other.request.num_prompt for other in inside.running)
        self.ratio = max(self.ratio, min(1.0, output / max(1, allowed)))

    def _expected(self, sequence: Sequence, inside: Inside) -> int:
        more = sequence.request.most_slots - sequence.num_tokens
        return sequence.num_tokens + max(0, int(self.ratio * more))


ADMISSIONS: dict[str, type[AdmissionPolicy]] = {
    "max_utilisation": MaxUtilisation,
    "whole_prompt": WholePromptFit,
    "reserve_everything": ReserveEverything,
    "guaranteed_no_evict": GuaranteedNoEvict,
    "optimistic_ratio": OptimisticRatio,
}


def _cost(sequence: Sequence, num_tokens: int, inside: Inside) -> int:
    """Pages, of those available, that ``sequence`` and its forks would use to hold ``num_tokens`` tokens each."""
    manager = inside.manager
    alone = manager.pages_to_admit(sequence.id, sequence.token_ids, num_tokens, sequence.request.salt)
    return alone + _of_forks(sequence, num_tokens, manager)


def _still_needed(inside: Inside, expected: Iterable[tuple[Sequence, int]]) -> int:
    """Pages that those inside have yet to take, to hold so many tokens each."""
    manager, pages = inside.manager, 0
    for sequence, num_tokens in expected:
        table = manager.table(sequence.id)
        pages += manager.pages_needed(sequence.id, max(num_tokens, table.num_tokens))
        pages += _of_forks(sequence, num_tokens, manager)
    return pages


def _of_forks(sequence: Sequence, num_tokens: int, manager: CacheManager) -> int:
    """Pages that forks yet to be made will not share with ``sequence``."""
    shared = 0 if sequence.request.params.beam_width else sequence.request.num_prompt // manager.page_size
    return (sequence.width - 1) * (manager.pages_for(num_tokens) - shared)
