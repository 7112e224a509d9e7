"""What the engine is compared with: one sequence, everything recomputed for every token, no pages worth the name."""

from __future__ import annotations

import copy

import torch

from pagedlab.engine.sampler import Sampler
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.plan import SampleRow
from pagedlab.scheduling.request import Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.reference import gather_attention


@torch.inference_mode()
def logits_of_last(loaded: LoadedModel, tokens: list[int]) -> torch.Tensor:
    """``[vocab]``: logits after ``tokens``, computed in one pass over one page that holds them all."""
    n, config = len(tokens), loaded.config
    shape, dtype = (2, 1, config.num_kv_heads, n, config.head_dim), loaded.model.dtype
    kv = [torch.zeros(shape, dtype=dtype) for _ in range(config.num_layers)]
    positions = torch.arange(n)
    batch = PagedBatch(
        token_ids=torch.tensor(tokens),
        positions=positions,
        slots=positions,
        query_start=torch.tensor([0, n], dtype=torch.int32),
        context_lens=torch.tensor([n], dtype=torch.int32),
        page_tables=torch.zeros(1, 1, dtype=torch.int32),
        page_size=n,
        max_query_len=n,
        max_context_len=n,
    )
    return loaded.model(batch, kv, gather_attention, torch.tensor([n - 1]))[0]


def greedy(loaded: LoadedModel, prompt: list[int], num_tokens: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(int(logits_of_last(loaded, tokens).argmax()))
    return tokens[len(prompt) :]


class PlainLoop:
    """One sequence in one contiguous cache in float32: its prompt in one pass, then a token at a time."""

    def __init__(self, loaded: LoadedModel, prompt: list[int], most: int) -> None:
        """``most``: tokens it may come to hold."""
        config = loaded.config
        self.loaded, self.most, self.num_tokens = loaded, most, 0
        shape = (2, 1, config.num_kv_heads, most, config.head_dim)
        self.kv = [torch.full(shape, torch.nan) for _ in range(config.num_layers)]
        self.logits = self._compute(prompt)  #: ``[vocab]``, after the last token

    def push(self, token: int) -> None:
        self.logits = self._compute([token])

    def fork(self) -> PlainLoop:
        twin = copy.copy(self)
        twin.kv = [layer.clone() for layer in self.kv]
        return twin

    @torch.inference_mode()
    def _compute(self, tokens: list[int]) -> torch.Tensor:
        start, n = self.num_tokens, len(tokens)
        self.num_tokens += n
        positions = torch.arange(start, start + n)
        batch = PagedBatch(
            token_ids=torch.tensor(tokens),
            positions=positions,
            slots=positions,
            query_start=torch.tensor([0, n], dtype=torch.int32),
            context_lens=torch.tensor([start + n], dtype=torch.int32),
            page_tables=torch.zeros(1, 1, dtype=torch.int32),
            page_size=self.most,
            max_query_len=n,
            max_context_len=start + n,
        )
        return self.loaded.model(batch, self.kv, gather_attention, torch.tensor([n - 1]))[0]


def generated(loaded: LoadedModel, prompt: list[int], params: SamplingParams, index: int = 0) -> list[int]:
    """The output of sequence ``index`` of a request with a seed and ``max_tokens``."""
    assert params.max_tokens is not None and params.seed is not None
    eos = loaded.config.eos_token_ids
    loop = PlainLoop(loaded, prompt, len(prompt) + params.max_tokens)
    sequence = Sequence(0, Request("", prompt, params, seed=params.seed), index, list(prompt))
    sampler = Sampler(eos)
    for number in range(1, params.max_tokens + 1):
        (choices,) = sampler(loop.logits[None], [SampleRow(0, sequence)])
        assert not isinstance(choices, Exception)
        token = choices[0].token
        sequence.token_ids.append(token)
        if number >= params.min_tokens and (token in params.stop_token_ids or (token in eos and not params.ignore_eos)):
            break
        if number < params.max_tokens:
            loop.push(token)
    return sequence.output_ids


def beams(loaded: LoadedModel, prompt: list[int], params: SamplingParams) -> list[list[int]]:
    """Beam search as its textbook has it: every beam to its end, then the best of all that was found."""
    assert params.max_tokens is not None and params.beam_width is not None
    width, stops = params.beam_width, set(params.stop_token_ids)
    if not params.ignore_eos:
        stops |= set(loaded.config.eos_token_ids)
    living = [(0.0, [], PlainLoop(loaded, prompt, len(prompt) + params.max_tokens))]
    ended: list[tuple[float, list[int]]] = []
    for number in range(params.max_tokens):
        offers = []
        for total, output, loop in living:
            logprobs = (loop.logits.double() / (params.temperature or 1)).log_softmax(-1)
            for token in logprobs.argsort(descending=True)[: max(2 * width, width + len(stops))].tolist():
                offers.append((total + float(logprobs[token]), [*output, token], loop))
        ended += [
            (total / max(1, len(output) - 1) ** params.length_penalty, output)
            for total, output, _ in offers
            if output[-1] in stops
        ]
        going_on = sorted((o for o in offers if o[1][-1] not in stops), key=lambda o: -o[0])[:width]
        living = [(total, output, loop.fork()) for total, output, loop in going_on]
        if number + 1 < params.max_tokens:
            for _, output, loop in living:
                loop.push(output[-1])
    ended += [(total / len(output) ** params.length_penalty, output) for total, output, _ in living]
    return [output for _, output in sorted(ended, key=lambda found: -found[0])[:width]]
