"""Two processes, each with half of the heads: the tokens are those of one."""

from __future__ import annotations

import pytest
import torch

from pagedlab.engine.llm import LLM
from pagedlab.engine.ranks import serve_on_ranks
from pagedlab.errors import InvalidConfig
from pagedlab.models.parallel import config_of_rank, shard
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
