"""The Triton decode kernel, interpreted, against the float64 oracle (behaviours 31, 36, 37 and 39)."""

from __future__ import annotations

import pytest
import torch

from pagedlab.errors import KernelUnavailable
from pagedlab_kernels import get_attention
from pagedlab_kernels.paged_decode import choose_splits, paged_decode
from pagedlab_kernels.reference import oracle_attention
from tests.kernels.cases import a_step, decodes_around_a_page, worst_error

BOUND = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("page_size", [1, 8, 16, 64, 256])
@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim"),
    [(2, 2, 64), (9, 3, 64), (4, 1, 80), (5, 1, 96), (7, 1, 128), (8, 1, 256)],
)
def test_scattered_pages_give_what_the_formula_says(
    num_heads: int, num_kv_heads: int, head_dim: int, page_size: int
) -> None:
    """Behaviours 36 and 39."""
    case = decodes_around_a_page(num_heads, num_kv_heads, head_dim, page_size)
    attended = get_attention("triton")(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attended, oracle_attention(case.q, case.kv, case.batch, case.scale)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_stay_within_their_own_rounding(dtype: torch.dtype) -> None:
    case = a_step([33, 5], [1, 1], num_heads=9, num_kv_heads=3, head_dim=64, page_size=16, dtype=dtype)
    attended = get_attention("triton")(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attended, oracle_attention(case.q, case.kv, case.batch, case.scale)) < BOUND[dtype]


@pytest.mark.parametrize("num_splits", [1, 2, 3, 7])
def test_one_split_and_many_agree_and_empty_ones_weigh_nothing(num_splits: int) -> None:
    """Behaviour 37."""
    case = a_step([1025, 1, 300], [1, 1, 1], num_heads=3, num_kv_heads=1, head_dim=64, page_size=16)
    batch = case.batch
    attended = paged_decode(
        case.q, case.kv, batch.page_tables, batch.context_lens, case.scale, max_context=1025, num_splits=num_splits
    )
    assert worst_error(attended, oracle_attention(case.q, case.kv, batch, case.scale)) < 1e-5


def test_a_chunk_is_a_staircase_of_decodes() -> None:
    case = a_step([20, 7, 9], [1, 7, 3], num_heads=6, num_kv_heads=2, head_dim=64, page_size=4)
    attended = get_attention("triton")(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attended, oracle_attention(case.q, case.kv, case.batch, case.scale)) < 1e-5


@pytest.mark.parametrize("window", [1, 7, 16, 17, 1000])
def test_a_row_sees_the_last_tokens_and_nothing_behind_them(window: int) -> None:
    case = a_step([90, 16, 33, 1], [1, 1, 3, 1], num_heads=6, num_kv_heads=2, head_dim=16, page_size=16, window=window)
    assert worst_error(case.attend(get_attention("triton")), case.expected()) < 1e-5


@pytest.mark.parametrize("num_splits", [1, 3, 7])
def test_what_a_window_leaves_of_a_context_is_split(num_splits: int) -> None:
    case = a_step([1025, 30], [1, 1], num_heads=3, num_kv_heads=1, head_dim=64, page_size=16, window=300)
    attended = paged_decode(
        case.q,
        case.kv,
        case.batch.page_tables,
        case.batch.context_lens,
        case.scale,
        max_context=1025,
        window=300,
        num_splits=num_splits,
    )
    assert worst_error(attended, case.expected()) < 1e-5


@pytest.mark.parametrize("kv_dtype", ["float16", "bfloat16"])
def test_narrow_pages_are_read_with_float32_arithmetic(kv_dtype: str) -> None:
    shape = {"num_heads": 9, "num_kv_heads": 3, "head_dim": 64, "page_size": 16}
    case = a_step([33, 5], [1, 1], kv_dtype=kv_dtype, window=20, **shape)
    assert worst_error(case.attend(get_attention("triton")), case.expected()) < 1e-5


@pytest.mark.parametrize("kv_dtype", ["int8", "int4", "fp8"])
def test_quantised_pages_are_refused_with_what_to_use_instead(kv_dtype: str) -> None:
    case = a_step([5], [1], num_heads=1, num_kv_heads=1, head_dim=16, page_size=4, kv_dtype=kv_dtype)
    with pytest.raises(KernelUnavailable, match="attention='reference', or kv_dtype"):
        case.attend(get_attention("triton"))


@pytest.mark.parametrize(
    ("batch", "heads", "context", "splits"), [(1, 8, 100, 1), (1, 8, 4096, 16), (64, 8, 4096, 1), (1, 1, 10**6, 64)]
)
def test_splits_fill_the_chip_and_are_worth_starting(batch: int, heads: int, context: int, splits: int) -> None:
    assert choose_splits(batch, heads, context, num_processors=132) == splits


def test_the_engine_serves_with_the_triton_path() -> None:
    from pagedlab import LLM, SamplingParams

    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    prompts = [list(range(20)), [5, 6, 7]]
    tokens = [
        [output.outputs[0].token_ids for output in LLM("tiny-random", attention=name).generate(prompts, params)]
        for name in ("triton", "reference")
    ]
    assert tokens[0] == tokens[1]
