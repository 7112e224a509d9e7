"""Beam search: of all continuations seen so far, the likeliest few go on.

Each beam is a sequence. When all beams of a request have been computed, the likeliest tokens of all of them compete,
and the winners go on: a beam that won twice forks, and shares every page with its twin until one of them writes; one
that did not win ends, and its pages come back. The algorithm is that of vLLM's ``LLM.beam_search``.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from pagedlab.errors import SamplingFailed
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from pagedlab.scheduling.scheduler import Scheduler


@dataclass(frozen=True)
class Hypothesis:
    """A beam as it stands, or as it ended."""

    output_ids: list[int]
    logprob: float  #: of the whole output
    finish_reason: FinishReason | None = None
    stop_reason: int | None = None

    def score(self, length_penalty: float) -> float:
        """Log probability a token, where ``length_penalty`` is 1; the token that ended it is not counted."""
        length = len(self.output_ids) - (self.finish_reason is FinishReason.STOP)
        return self.logprob / max(1, length) ** length_penalty


class BeamSearch:
    """The search of one request. It ends when no beam that lives can come to be among the best."""

    def __init__(self, request: Request, scheduler: Scheduler, eos_token_ids: Collection[int]) -> None:
        self.request, self.scheduler = request, scheduler
        params = request.params
        self._width = params.beam_width or 1
        self._eos = frozenset() if params.ignore_eos else frozenset(eos_token_ids)
        self._stops = self._eos | set(params.stop_token_ids)
        self._totals = {request.sequences[0].id: 0.0}
        self._offers: dict[int, list[tuple[int, float]]] = {}
        self._ended: list[Hypothesis] = []

    def observe(self, beam: Sequence, logits: Tensor) -> None:
        """``logits: [vocab]`` of the token that follows ``beam``: its likeliest tokens are its offers."""
        count = min(max(2 * self._width, self._width + len(self._stops)), logits.shape[0])
        best = (logits.double() / (self.request.params.temperature or 1.0)).log_softmax(-1).topk(count)
        if best.values[0].isnan():
            raise SamplingFailed(f"request {self.request.id} has no next token: its logits are not numbers")
        self._offers[beam.id] = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))

    def advance(self) -> None:
        """Choose who goes on, if every beam has made its offers."""
        beams = self.request.alive
        if not beams or not all(beam.awaits for beam in beams):
            return
        offers = [
            (self._totals[beam.id] + logprob, beam, token) for beam in beams for token, logprob in self._offers[beam.id]
        ]
        self._ended += [
            Hypothesis([*beam.output_ids, token], total, FinishReason.STOP, None if token in self._eos else token)
            for total, beam, token in offers
            if token in self._stops
        ]
        going_on = [offer for offer in offers if offer[2] not in self._stops]
        if not going_on:  # whatever can be said ends it
            for beam in beams:
                self.scheduler.finish(beam, FinishReason.PRUNED)
            return
        chosen = heapq.nlargest(self._width, going_on, key=lambda offer: offer[0])  # of equal ones, the first
        chosen.sort(key=lambda offer: beams.index(offer[1]))
        winners = self.scheduler.branch(self.request, [(beam, token) for _, beam, token in chosen])
        self._totals = {beam.id: total for beam, (total, _, _) in zip(winners, chosen, strict=True)}
        self._offers.clear()
        full = [beam for beam in winners if self.scheduler.is_full(beam)]
        if full:
            self._ended += [self._hypothesis(beam, FinishReason.LENGTH) for beam in winners]
        if full or self._is_settled():
            for beam in winners:
                self.scheduler.finish(beam, FinishReason.LENGTH if full else FinishReason.PRUNED)

    def best(self) -> list[Hypothesis]:
        """The ``beam_width`` best, best first: of those that ended when the search has, else as it stands."""
        found = self._ended
        if not self.request.finished:
            found = [self._hypothesis(beam, None) for beam in self.request.alive]
        elif not found or any(s.finish_reason in _CUT_SHORT for s in self.request.sequences):
            found = [self._hypothesis(beam, beam.finish_reason) for beam in self.request.sequences]
        return heapq.nlargest(self._width, found, key=self._score)

    def _hypothesis(self, beam: Sequence, reason: FinishReason | None) -> Hypothesis:
        return Hypothesis(beam.output_ids, self._totals.get(beam.id, 0.0), reason)

    def _score(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score(self.request.params.length_penalty)

    def _is_settled(self) -> bool:
        """So many have ended with a score that no living beam, whose probability can only fall, can reach."""
        if len(self._ended) < self._width:
            return False
        worst = heapq.nlargest(self._width, map(self._score, self._ended))[-1]
        penalty = self.request.params.length_penalty
        living = self.request.alive
        length = self.request.most_tokens - self.request.num_prompt if penalty > 0 else living[0].num_output
        return all(self._totals[beam.id] / length**penalty <= worst for beam in living)


_CUT_SHORT = (FinishReason.ABORT, FinishReason.ERROR)
