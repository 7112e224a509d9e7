"""The Triton decode kernel, interpreted, against the float64 oracle (behaviours 31, 36, 37 and 39)."""

from __future__ import annotations

import pytest
import torch

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels import get_attention
from pagedlab_kernels.kv_format import QuantizedKV
from pagedlab_kernels.paged_decode import paged_decode
from pagedlab_kernels.reference import oracle_attention
from pagedlab_kernels.splits import choose_splits
from pagedlab_kernels.triton_attention import triton_attention
from tests.kernels.cases import a_step, decodes_around_a_page, stored, worst_error

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
@pytest.mark.parametrize(("head_dim", "page_size"), [(64, 16), (80, 1), (96, 8), (128, 64), (256, 16)])
def test_quantised_pages_mean_what_was_kept_in_them(kv_dtype: str, head_dim: int, page_size: int) -> None:
    """Off the oracle, which attends to the dequantised numbers, by the rounding of float32 only."""
    shape = {"num_heads": 3, "num_kv_heads": 1, "head_dim": head_dim, "page_size": page_size}
    case = a_step([70, 5, 1], [1, 1, 1], kv_dtype=kv_dtype, **shape)
    assert worst_error(case.attend(get_attention("triton")), case.expected()) < 1e-5


@pytest.mark.parametrize("kv_dtype", ["int8", "int4", "fp8"])
def test_quantised_pages_are_read_through_windows_in_chunks_and_for_narrow_queries(kv_dtype: str) -> None:
    shape = {"num_heads": 10, "num_kv_heads": 2, "head_dim": 64, "page_size": 4}
    case = a_step([40, 9], [1, 3], kv_dtype=kv_dtype, window=20, dtype=torch.bfloat16, **shape)
    assert worst_error(case.attend(get_attention("triton")), case.expected()) < BOUND[torch.bfloat16]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kv_dtype", ["int8", "int4", "fp8"])
def test_a_vector_that_is_not_finite_makes_its_row_nan(kv_dtype: str) -> None:
    case = a_step([9, 9], [1, 1], num_heads=1, num_kv_heads=1, head_dim=64, page_size=16, kv_dtype="float32")
    case.kv[0, case.batch.page_tables[1, 0], 0, 3, 5] = torch.inf
    case.kv = stored(case.kv, kv_dtype)
    attended = case.attend(get_attention("triton"))
    assert attended[0].isfinite().all() and attended[1].isnan().all()


def test_every_fp8_bit_pattern_is_read_as_the_number_that_torch_reads() -> None:
    """But for the two that mean NaN: where there is one, the scale is not finite."""
    codes = torch.arange(256, dtype=torch.uint8)
    codes[codes & 127 == 127] = 0
    kv = QuantizedKV("fp8", codes.expand(2, 1, 1, 1, 256).contiguous(), torch.ones(2, 1, 1, 1))
    table, length = torch.zeros(1, 1, dtype=torch.int32), torch.ones(1, dtype=torch.int32)
    values = paged_decode(torch.zeros(1, 1, 256), kv, table, length, 1.0, max_context=1)
    assert torch.equal(values[0, 0], codes.view(torch.float8_e4m3fn).float())


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of what is far beyond the cap: it works out
@pytest.mark.parametrize("kv_dtype", ["float32", "int8"])
@pytest.mark.parametrize("softcap", [0.3, 50.0])
def test_a_soft_cap_squeezes_scores_before_the_mask(softcap: float, kv_dtype: str) -> None:
    shape = {"num_heads": 4, "num_kv_heads": 1, "head_dim": 64, "page_size": 16}
    case = a_step([70, 5], [1, 1], window=50, kv_dtype=kv_dtype, **shape)
    queries = 10 * case.q  # so that scores reach far beyond the smaller cap
    capped = {"window": 50, "softcap": softcap}
    attended = triton_attention(queries, case.kv, case.batch, case.scale, **capped)
    assert worst_error(attended, oracle_attention(queries, case.kv, case.batch, case.scale, **capped)) < 1e-5
    assert worst_error(attended, oracle_attention(queries, case.kv, case.batch, case.scale, window=50)) > 1e-3


@pytest.mark.parametrize(("knob", "value"), [("softcap", 0.0), ("softcap", -1.0), ("split_tokens", 0)])
def test_a_knob_without_meaning_is_refused(knob: str, value: float) -> None:
    case = a_step([5], [1], num_heads=1, num_kv_heads=1, head_dim=16, page_size=4)
    with pytest.raises(InvalidQuantity, match=str(value)):
        triton_attention(case.q, case.kv, case.batch, case.scale, **{knob: value})


@pytest.mark.parametrize("kv_dtype", ["float32", "int8"])
def test_with_splits_of_one_size_a_result_has_the_same_bits_in_any_batch(kv_dtype: str) -> None:
    """The same row alone, among others and beside one so long that its splits are not merged in one go."""
    lengths = [1700, 40, 300, 64, 1]
    shape = {"num_heads": 3, "num_kv_heads": 1, "head_dim": 64, "page_size": 16}
    case = a_step(lengths, [1] * len(lengths), kv_dtype=kv_dtype, **shape)

    def attend(rows: list[int]) -> torch.Tensor:
        batch, longest = case.batch, max(lengths[row] for row in rows)
        tables, context_lens = batch.page_tables[rows], batch.context_lens[rows]
        return paged_decode(
            case.q[rows], case.kv, tables, context_lens, case.scale, max_context=longest, split_tokens=100
        )

    together = attend([0, 1, 2, 3, 4])
    assert worst_error(together, case.expected()) < 1e-5
    for rows in ([1], [4, 2], [2, 3, 1]):
        assert torch.equal(attend(rows), together[rows])


@pytest.mark.parametrize(
    ("batch", "heads", "context", "splits"),
    [
        (1, 8, 100, 1),  # too short
        (256, 8, 512, 1),  # full without
        (64, 8, 4096, 1),
        (1, 8, 4096, 16),  # as many as have 256 tokens
        (1, 8, 65536, 33),  # 264 programs: two for each of 132 processors
        (1, 1, 10**6, 264),
        (17, 8, 4096, 9),  # 136 programs would be half a wave, 1,224 are nearly five
    ],
)
def test_splits_fill_the_chip_in_whole_waves_and_are_worth_starting(
    batch: int, heads: int, context: int, splits: int
) -> None:
    assert choose_splits(batch, heads, context, num_processors=132) == splits


@pytest.mark.parametrize("kv_dtype", ["float32", "int8"])
def test_the_engine_serves_with_the_triton_path(kv_dtype: str) -> None:
    from pagedlab import LLM, SamplingParams

    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    prompts = [list(range(20)), [5, 6, 7]]
    tokens = [
        [
            output.outputs[0].token_ids
            for output in LLM("tiny-random", attention=name, kv_dtype=kv_dtype).generate(prompts, params)
        ]
        for name in ("triton", "reference")
    ]
    assert tokens[0] == tokens[1]
