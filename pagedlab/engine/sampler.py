"""Sampler: logits to tokens, one row at a time.

The noise of a sampled token is a function of the sequence's seed and the token's position and of nothing else, so a
sequence is the same whether it ran alone or in a batch, in one go or preempted in between, with drafts or without.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pagedlab.engine.structured import Grammars
from pagedlab.errors import SamplingFailed
from pagedlab.scheduling.plan import SampleRow
from pagedlab.scheduling.request import Sequence
from pagedlab.scheduling.sampling import SamplingParams


class Sampled(NamedTuple):
    token: int
    #: by token id, log probabilities of the token and the likeliest ones in the model's own logits; None unless asked
    logprobs: dict[int, float] | None


def highest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of ``logits: [R, vocab]`` its highest number and where it stands first; or NaN, if there is one.

    In blocks: ``amax`` takes a tenth of the time of ``max``, which carries a place along with every number.
    """
    size = math.gcd(logits.shape[1], 256)
    blocks = logits.unflatten(1, (-1, size))
    best, block = blocks.amax(2).max(1)
    rows = torch.arange(len(logits), device=logits.device)
    return best, block * size + blocks[rows, block].argmax(1)


class Sampler:
    """``grammars`` are asked where a request constrains its text."""

    def __init__(self, eos_token_ids: tuple[int, ...] = (), grammars: Grammars | None = None) -> None:
        self.eos_token_ids, self.grammars = eos_token_ids, grammars

    @torch.inference_mode()
    def __call__(self, logits: Tensor, rows: list[SampleRow]) -> list[list[Sampled] | Exception]:
        """``logits: [R, vocab]`` float32: for each of ``rows`` one, and one more after each of its drafts, in order.

        Returns each row's new tokens: one more than the drafts that were accepted, none where beam search chooses. What
        goes wrong with one row is returned in its place and harms no other.
        """
        best, likeliest = (column.tolist() for column in highest(logits))
        results: list[list[Sampled] | Exception] = []
        first = 0
        for row in rows:
            last = first + len(row.drafts)
            own = slice(first, last + 1)
            first = last + 1
            try:
                results.append(self._sample(logits[own], best[own], likeliest[own], row))
            except Exception as error:
                results.append(error)
        return results

    def _sample(self, logits: Tensor, best: list[float], likeliest: list[int], row: SampleRow) -> list[Sampled]:
        """Sample after the last token, and after each draft as long as the token sampled before it is that draft.

        So every token is the one that would have been sampled without drafts. A failure after an accepted draft is left
        to the next step, where that row comes first, unless the sequence has ended by then.
        """
        if row.sequence.request.params.beam_width:
            return []
        sampled: list[Sampled] = []
        for number, draft in enumerate((*row.drafts, None)):
            accepted = [earlier.token for earlier in sampled]
            try:
                choice = self._sample_one(logits[number], best[number], likeliest[number], row.sequence, accepted)
            except Exception:
                if not sampled:
                    raise
                break
            sampled.append(choice)
            if choice.token != draft:
                break
        return sampled

    def _sample_one(self, logits: Tensor, best: float, token: int, sequence: Sequence, accepted: list[int]) -> Sampled:
        """``logits: [vocab]`` after ``accepted``; ``best`` is the highest of them, and ``token`` has it."""
        params, position = sequence.request.params, sequence.num_tokens + len(accepted)
        if self._changes_logits(params, position - sequence.request.num_prompt):
            adjusted = self._adjust(logits.clone(), sequence, accepted)
            best = float(adjusted.max())
            if math.isfinite(best):
                token = choose(adjusted, params, uniform(sequence.request.seed, sequence.index, position))
        if not math.isfinite(best):
            raise SamplingFailed(
                f"request {sequence.request.id} has no next token: its highest logit is {best}. NaN comes from the "
                "model or a logits processor; -inf from bans (constraint, min_tokens, processors) that leave nothing"
            )
        return Sampled(token, None if params.logprobs is None else _logprobs(logits, token, params.logprobs))

    def _changes_logits(self, params: SamplingParams, num_output: int) -> bool:
        return (
            params.temperature > 0
            or bool(params.logits_processors)
            or bool(params.logit_bias)
            or num_output < params.min_tokens
            or params.repetition_penalty != 1
            or params.presence_penalty != 0
            or params.frequency_penalty != 0
            or params.constraint is not None
        )

    def _adjust(self, logits: Tensor, sequence: Sequence, accepted: list[int]) -> Tensor:
        """Processors, bias, minimum length, penalties, and last the constraint, which nothing undoes."""
        params = sequence.request.params
        output_ids = [*sequence.output_ids, *accepted]
        for processor in params.logits_processors:
            logits = _checked(processor(list(output_ids), logits), logits)
        for token, bias in (params.logit_bias or {}).items():
            logits[token] += bias
        if len(output_ids) < params.min_tokens:
            logits[[*self.eos_token_ids, *params.stop_token_ids]] = -torch.inf
        if params.repetition_penalty != 1:
            seen = torch.tensor([*sequence.request.prompt_ids, *output_ids], device=logits.device).unique()
            score = logits[seen]
            logits[seen] = torch.where(score > 0, score / params.repetition_penalty, score * params.repetition_penalty)
        if params.presence_penalty or params.frequency_penalty:
            output = torch.tensor(output_ids, dtype=torch.int64, device=logits.device)
            token_counts = output.bincount(minlength=logits.shape[0])
            logits -= params.frequency_penalty * token_counts + params.presence_penalty * (token_counts > 0)
        if params.constraint is not None:
            logits.masked_fill_(~self._allowed(sequence, output_ids).to(logits.device), -torch.inf)
        return logits

    def _allowed(self, sequence: Sequence, output_ids: list[int]) -> Tensor:
        if self.grammars is None:
            raise SamplingFailed("a constraint was asked for, but this sampler was built without grammars")
        return self.grammars.allowed(sequence, output_ids)


def _checked(logits: object, given: Tensor) -> Tensor:
    """What a logits processor returned, if it is fit to go on with."""
    if not isinstance(logits, Tensor) or logits.shape != given.shape:
        what = f"a tensor {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise SamplingFailed(
            f"a logits processor returned {what}; it was given logits {list(given.shape)}: return such"
        )
    return logits


def choose(logits: Tensor, params: SamplingParams, u: float) -> int:
    """The token at which the cumulative probability of ``logits: [vocab]`` passes ``u`` in [0, 1)."""
    if params.temperature == 0:
        return int(logits.argmax())
    logits = logits.double() / params.temperature
    probs = torch.softmax(logits, -1)
    if params.min_p > 0:
        probs[probs < params.min_p * probs.max()] = 0
    if params.top_k > 0 or params.top_p < 1:
        probs = _keep_top(probs, params.top_k, params.top_p)
    cumulative = probs.cumsum(-1)
    token = int(torch.searchsorted(cumulative, u * cumulative[-1], right=True))
    return token if token < len(probs) else int(probs.nonzero()[-1])  # rounding carried u past the last


def _keep_top(probs: Tensor, top_k: int, top_p: float) -> Tensor:
    """Zero all but the ``top_k`` likeliest, and of those all but the fewest that reach ``top_p`` of their mass."""
    kept, order = probs.topk(min(top_k or _HEAD, len(probs)))
    mass = kept.sum() if top_k else probs.sum()
    if not top_k and kept.sum() < top_p * mass:  # rare: the head is enough for all but flat distributions
        kept, order = probs.sort(descending=True)
    before = kept.cumsum(-1) - kept
    kept[before >= top_p * mass] = 0
    return torch.zeros_like(probs).scatter_(0, order, kept)


#: Tokens among which top-p first looks for its share. Sorting a whole vocabulary takes forty times as long.
_HEAD = 1024


def uniform(seed: int, index: int, position: int) -> float:
    """A number in [0, 1) that depends on its arguments alone (splitmix64, Steele et al., OOPSLA 2014)."""
    state = seed & _MASK
    for value in (index, position):
        state = _mix((state + (value + 1) * 0x9E3779B97F4A7C15) & _MASK)
    return (state >> 11) / 2**53


_MASK = 2**64 - 1


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _logprobs(logits: Tensor, token: int, count: int) -> dict[int, float]:
    logprobs = logits.log_softmax(-1)
    tokens = [token, *(t for t in logprobs.topk(min(count, logprobs.shape[0])).indices.tolist() if t != token)]
    return dict(zip(tokens, logprobs[tokens].tolist(), strict=True))
