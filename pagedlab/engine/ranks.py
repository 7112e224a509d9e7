"""Ranks: the same engine in several processes, each with its share of the model and of every page."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

from pagedlab.engine.llm import LLM
from pagedlab.models.parallel import Reduce, run_ranks, shard
from pagedlab.models.tiny import tiny_random
from pagedlab.scheduling.sampling import SamplingParams


class RankReport(NamedTuple):
    """What one rank did: ``reductions`` all-reduces added up ``values`` numbers in all."""

    tokens: list[list[int]]
    kv_heads: int
    bytes_per_page: int
    reductions: int
    values: int


def serve_on_ranks(prompts: list[list[int]], max_tokens: int, ranks: int) -> list[RankReport]:
    """Serve ``prompts`` greedily with the model tiny-random, cut for ``ranks`` processes. Each rank reports.

    Every rank schedules for itself. No rank tells another what to do next: the same requests in the same order give the
    same plans, and the same sums give the same tokens.
    """
    return run_ranks(partial(_serve, prompts, max_tokens), ranks)


def _serve(prompts: list[list[int]], max_tokens: int, rank: int, ranks: int, reduce: Reduce) -> RankReport:
    sizes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return reduce(x)

    whole = tiny_random()
    part = shard(whole.model, rank, ranks, counted)
    llm = LLM(replace(whole, model=part, config=part.config), page_size=4, num_pages=64, device="cpu", progress=False)
    wish = SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    outputs = llm.generate(list(prompts), wish, progress=False)
    llm.engine.manager.check()
    tokens = [output.outputs[0].token_ids for output in outputs]
    return RankReport(tokens, part.config.num_kv_heads, llm.engine.kv.bytes_per_page, len(sizes), sum(sizes))
