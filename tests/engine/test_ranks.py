"""Two processes, each with half of the heads: the tokens are those of one."""

from __future__ import annotations

import pytest
import torch

from pagedlab.engine.llm import LLM
from pagedlab.engine.ranks import serve_on_ranks
from pagedlab.errors import InvalidConfig
from pagedlab.models.parallel import Reduce, config_of_rank, run_ranks, shard
from pagedlab.models.tiny import TINY_CONFIG, tiny_random
from pagedlab.scheduling.sampling import SamplingParams

PROMPTS = [[10, 20, 30, 40, 50], [7] * 9]


@pytest.mark.timeout(180)
def test_two_ranks_say_what_one_says_and_each_keeps_half_of_every_page():
    one = LLM(tiny_random(), page_size=4, num_pages=64, device="cpu", progress=False)
    wish = SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)
    wanted = [output.outputs[0].token_ids for output in one.generate(PROMPTS, wish, progress=False)]
    reports = serve_on_ranks(PROMPTS, 6, 2)
    for report in reports:
        assert report.tokens == wanted
        assert report.kv_heads == TINY_CONFIG.num_kv_heads // 2
        assert report.bytes_per_page == one.engine.kv.bytes_per_page // 2
        assert report.reductions == 2 * TINY_CONFIG.num_layers * 6, "two a layer and step"


def test_the_shards_of_a_matrix_make_it_whole_again():
    whole = tiny_random().model
    parts = [shard(whole, rank, 2, lambda x: x) for rank in range(2)]
    for key, weight in whole.state_dict().items():
        pieces = [part.state_dict()[key] for part in parts]
        cut = next(
            (d for d in (0, 1) if pieces[0].shape != weight.shape and pieces[0].shape[d] != weight.shape[d]), None
        )
        assert torch.equal(pieces[0] if cut is None else torch.cat(pieces, cut), weight)


@pytest.mark.parametrize("ranks", [0, 3, 4])
def test_a_cut_that_is_not_even_is_refused_with_the_numbers(ranks: int):
    with pytest.raises(InvalidConfig, match=f"ranks={ranks}"):
        config_of_rank(TINY_CONFIG, ranks)


def large_answer(rank: int, ranks: int, reduce: Reduce) -> list[int]:
    """More than a pipe holds."""
    return [rank] * 300_000


def failing_rank(rank: int, ranks: int, reduce: Reduce) -> None:
    """The other one waits for a sum that never comes."""
    if rank == 1:
        raise ValueError("rank 1 fails")
    reduce(torch.ones(3))


@pytest.mark.timeout(120)
def test_large_answers_are_read_while_the_ranks_still_run():
    assert [(answer[0], len(answer)) for answer in run_ranks(large_answer, 2)] == [(0, 300_000), (1, 300_000)]


@pytest.mark.timeout(120)
def test_when_a_rank_fails_all_end_and_it_is_said():
    with pytest.raises(RuntimeError, match="ranks ended with"):
        run_ranks(failing_rank, 2)
