"""The Triton kernel that copies pages, interpreted: the bits of plain torch copies, one after the other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pagedlab_kernels.copy_pages import BLOCK, copy_pages, waves
from pagedlab_kernels.kv_format import KV_DTYPES, kv_parts
from pagedlab_kernels.write_kv import write_kv

FORMATS = pytest.mark.parametrize("kv_dtype", KV_DTYPES)
NUM_PAGES, NUM_HOST_PAGES, LAYERS = 4, 3, 2

Copies = list[tuple[int, int]]
page = st.integers(0, NUM_PAGES + NUM_HOST_PAGES - 1)


def scribbled(kv_dtype: str, num_kv_heads: int, page_size: int, head_dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Pool and host memory, any bits at all in them: NaN and infinities too."""
    pool, host = [], []
    for shape, dtype in kv_parts(kv_dtype, head_dim):
        vectors = (num_kv_heads, page_size, *shape)
        pool.append(torch.empty(LAYERS, 2, NUM_PAGES, *vectors, dtype=dtype))
        host.append(torch.empty(NUM_HOST_PAGES, LAYERS, 2, *vectors, dtype=dtype))
    for part in (*pool, *host):
        part.view(-1).view(torch.uint8).random_(256)
    return pool, host


def one_by_one(copies: Copies, pool: list[Tensor], host: list[Tensor]) -> None:
    for copy in copies:
        for part, host_part in zip(pool, host, strict=True):
            source, target = (part[:, :, n] if n < NUM_PAGES else host_part[n - NUM_PAGES] for n in copy)
            target.copy_(source)


def check(copies: Copies, kv_dtype: str, num_kv_heads: int, page_size: int, head_dim: int) -> None:
    """All memory, pages that nobody named included, has the bits that copying one by one leaves."""
    pool, host = scribbled(kv_dtype, num_kv_heads, page_size, head_dim)
    expected = [[part.clone() for part in side] for side in (pool, host)]
    one_by_one(copies, *expected)
    copy_pages(copies, pool, host)
    for part, right in zip((*pool, *host), (*expected[0], *expected[1]), strict=True):
        assert torch.equal(part.view(-1).view(torch.uint8), right.view(-1).view(torch.uint8))


@FORMATS
@pytest.mark.parametrize(
    ("num_kv_heads", "page_size", "head_dim"), [(3, 1, 64), (1, 5, 80), (2, 16, 96), (8, 16, 128), (1, 256, 256)]
)
def test_pages_are_copied_within_the_pool_out_of_it_and_back(
    kv_dtype: str, num_kv_heads: int, page_size: int, head_dim: int
) -> None:
    check([(0, 3), (1, 5), (6, 2)], kv_dtype, num_kv_heads, page_size, head_dim)


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8"])
def test_pieces_that_are_not_whole_words_are_copied_too(kv_dtype: str) -> None:
    check([(0, 3), (1, 5), (6, 2), (4, 1)], kv_dtype, num_kv_heads=1, page_size=3, head_dim=5)


def test_a_piece_longer_than_a_block_is_copied_to_its_end() -> None:
    page_size = 100
    assert page_size * 64 > 3 * BLOCK
    check([(2, 0)], "float32", num_kv_heads=1, page_size=page_size, head_dim=64)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(copies=st.lists(st.tuples(page, page), max_size=8))
def test_any_copies_leave_what_copying_one_by_one_leaves(copies: Copies) -> None:
    check(copies, "int4", num_kv_heads=1, page_size=2, head_dim=8)


@settings(max_examples=500, deadline=None)
@given(copies=st.lists(st.tuples(page, page), max_size=20))
def test_no_launch_reads_what_it_writes_and_all_together_keep_the_order(copies: Copies) -> None:
    one_by_one, in_waves = list(range(10)), list(range(10))
    for source, target in copies:
        one_by_one[target] = one_by_one[source]
    for wave in waves(copies):
        assert wave and not wave.keys() & set(wave.values())
        before = list(in_waves)
        for target, source in wave.items():
            in_waves[target] = before[source]
    assert in_waves == one_by_one


@pytest.mark.parametrize(
    ("copies", "launches"),
    [
        ([], 0),
        ([(1, 1)], 0),
        ([(0, 1), (0, 2), (5, 3)], 1),
        ([(0, 1), (1, 2), (2, 3)], 1),  # a chain: all of them are page 0
        ([(0, 1), (2, 1)], 1),  # the last one counts
        ([(0, 1), (1, 0)], 1),  # there and back
        ([(0, 5), (6, 0)], 2),  # page 0 is read, then overwritten
        ([(0, 2), (1, 0), (2, 1)], 3),  # two pages change places
    ],
)
def test_one_launch_is_enough_unless_a_copy_overwrites_what_another_reads(copies: Copies, launches: int) -> None:
    assert len(list(waves(copies))) == launches


@pytest.mark.parametrize("kv_dtype", ["float32", "int8"])
def test_the_engine_writes_and_copies_in_triton_and_says_the_same(kv_dtype: str) -> None:
    """Sequences that part after a prompt copy the page they share; and a page goes out for another to come in."""
    from pagedlab import LLM, SamplingParams

    params = SamplingParams(n=2, max_tokens=7, seed=3, ignore_eos=True)
    memory = {"page_size": 4, "num_pages": 6, "num_host_pages": 9, "preemption": "swap", "kv_dtype": kv_dtype}
    tokens = []
    for attention in ("triton", "reference"):
        llm = LLM("tiny-random", attention=attention, **memory)
        outputs = llm.generate([[*range(6)], [*range(9, 14)]], params)
        tokens.append([one.token_ids for output in outputs for one in output.outputs])
        assert (llm.engine.kv.write is write_kv) == (attention == "triton")
        assert llm.engine.manager.stats.copies and llm.engine.manager.stats.swaps
    assert tokens[0] == tokens[1]
