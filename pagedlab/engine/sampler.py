"""Sampler: logits to tokens, one row at a time.

The noise of a sampled token is a function of the sequence's seed and the token's position and of nothing else, so a
sequence is the same whether it ran alone or in a batch, in one go or preempted in between.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pagedlab.scheduling.request import Sequence
from pagedlab.scheduling.sampling import SamplingParams


class Sampled(NamedTuple):
    token: int
    #: by token id, log probabilities of the token and the likeliest ones in the model's own logits; None unless asked
    logprobs: dict[int, float] | None


class Sampler:
    def __init__(self, eos_token_ids: tuple[int, ...] = ()) -> None:
        self.eos_token_ids = eos_token_ids

    @torch.inference_mode()
    def __call__(self, logits: Tensor, sequences: list[Sequence]) -> list[Sampled]:
        """``logits: [S, vocab]`` float32, row i for ``sequences[i]``."""
        likeliest = logits.argmax(-1).tolist()
        sampled = []
        for row, sequence, token in zip(logits, sequences, likeliest, strict=True):
            params = sequence.request.params
            if self._changes_logits(params, sequence):
                adjusted = self._adjust(row.clone(), sequence)
                token = choose(adjusted, params, uniform(sequence.request.seed, sequence.index, sequence.num_tokens))
            sampled.append(Sampled(token, None if params.logprobs is None else _logprobs(row, token, params.logprobs)))
        return sampled

    def _changes_logits(self, params: SamplingParams, sequence: Sequence) -> bool:
        return (
            params.temperature > 0
            or bool(params.logit_bias)
            or sequence.num_output < params.min_tokens
            or params.repetition_penalty != 1
            or params.presence_penalty != 0
            or params.frequency_penalty != 0
        )

    def _adjust(self, logits: Tensor, sequence: Sequence) -> Tensor:
        """Bias, minimum length and penalties, in place, in vLLM's order."""
        params = sequence.request.params
        for token, bias in (params.logit_bias or {}).items():
            logits[token] += bias
        if sequence.num_output < params.min_tokens:
            logits[[*self.eos_token_ids, *params.stop_token_ids]] = -torch.inf
        if params.repetition_penalty != 1:
            seen = torch.tensor(sequence.token_ids, device=logits.device).unique()
            score = logits[seen]
            logits[seen] = torch.where(score > 0, score / params.repetition_penalty, score * params.repetition_penalty)
        if params.presence_penalty or params.frequency_penalty:
            output = torch.tensor(sequence.output_ids, dtype=torch.int64, device=logits.device)
            token_counts = output.bincount(minlength=logits.shape[0])
            logits -= params.frequency_penalty * token_counts + params.presence_penalty * (token_counts > 0)
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
    return min(token, int(probs.nonzero()[-1]))  # rounding may carry the sum past its own end


def _keep_top(probs: Tensor, top_k: int, top_p: float) -> Tensor:
    """Zero all but the ``top_k`` likeliest, and of those all but the fewest that reach ``top_p`` of their mass."""
    kept, order = probs.sort(descending=True, stable=True)
    if top_k > 0:
        kept[top_k:] = 0
    before = kept.cumsum(-1) - kept
    kept[before >= top_p * kept.sum()] = 0
    return torch.zeros_like(probs).scatter_(0, order, kept)


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
