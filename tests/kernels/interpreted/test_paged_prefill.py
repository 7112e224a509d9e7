"""The Triton kernel for chunks, interpreted, against the float64 oracle (behaviours 36, 38 and 39)."""

from __future__ import annotations

import pytest
import torch

from pagedlab_kernels import get_attention
from pagedlab_kernels.accesses import ProgramId
from pagedlab_kernels.paged_prefill import paged_prefill, prefill_constants
from pagedlab_kernels.reference import oracle_attention
from pagedlab_kernels.trace_kernel import trace_kernel
from tests.kernels.cases import Case, a_step, worst_error

BOUND = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def prefill(case: Case, **more: float) -> torch.Tensor:
    return paged_prefill(case.q, case.kv, case.batch, case.scale, window=case.window, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("page_size", [1, 8, 16, 64, 256])
@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim"),
    [(2, 2, 64), (9, 3, 64), (4, 1, 80), (5, 1, 96), (7, 1, 128), (8, 1, 256)],
)
def test_chunks_decode_rows_and_whole_prompts_share_a_step(
    num_heads: int, num_kv_heads: int, head_dim: int, page_size: int
) -> None:
    shape = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim, "page_size": page_size}
    case = a_step([37, 20, 9, 1], [30, 1, 9, 1], **shape)
    assert worst_error(prefill(case), case.expected()) < 1e-5


@pytest.mark.parametrize("lens", [[1], [64], [65, 1, 63], [1, 1, 1, 130], [10, 11, 9, 21]])
def test_every_block_finds_its_sequence(lens: list[int]) -> None:
    """10 rows of 3 heads fill a block: chunks of less, of several blocks, and of just more than one."""
    case = a_step([n + 5 for n in lens], lens, num_heads=3, num_kv_heads=1, head_dim=16, page_size=16)
    assert worst_error(prefill(case), case.expected()) < 1e-5


@pytest.mark.parametrize("window", [1, 7, 16, 17, 50, 1000])
def test_a_row_sees_the_last_tokens_and_nothing_behind_them(window: int) -> None:
    """Windows shorter than a tile too: a block's last rows see nothing of its first tile."""
    shape = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 16, "page_size": 16}
    case = a_step([190, 33, 1], [120, 3, 1], window=window, **shape)
    assert worst_error(prefill(case), case.expected()) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kv_dtype", ["float32", None])
def test_narrow_numbers_stay_within_their_own_rounding(dtype: torch.dtype, kv_dtype: str | None) -> None:
    shape = {"num_heads": 9, "num_kv_heads": 3, "head_dim": 64, "page_size": 16}
    case = a_step([50, 5], [30, 5], dtype=dtype, kv_dtype=kv_dtype, **shape)
    assert worst_error(prefill(case), case.expected()) < BOUND[dtype]


@pytest.mark.parametrize("kv_dtype", ["int8", "int4", "fp8"])
@pytest.mark.parametrize(("head_dim", "page_size", "window"), [(64, 16, None), (80, 1, 20), (128, 64, None)])
def test_quantised_pages_mean_what_was_kept_in_them(
    kv_dtype: str, head_dim: int, page_size: int, window: int | None
) -> None:
    shape = {"num_heads": 3, "num_kv_heads": 1, "head_dim": head_dim, "page_size": page_size}
    case = a_step([70, 5, 1], [30, 5, 1], kv_dtype=kv_dtype, window=window, **shape)
    assert worst_error(prefill(case), case.expected()) < 1e-5


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of what is far beyond the cap: it works out
@pytest.mark.parametrize("softcap", [0.3, 50.0])
def test_a_soft_cap_squeezes_scores_before_the_mask(softcap: float) -> None:
    case = a_step([40, 5], [20, 2], num_heads=4, num_kv_heads=1, head_dim=64, page_size=16)
    case.q *= 10
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale, softcap=softcap)
    assert worst_error(prefill(case, softcap=softcap), expected) < 1e-5
    assert worst_error(prefill(case), expected) > 1e-3


def test_what_a_chunk_gets_does_not_depend_on_its_company() -> None:
    lens, rows = [90, 30, 200], [70, 30, 1]
    case = a_step(lens, rows, num_heads=3, num_kv_heads=1, head_dim=64, page_size=16)
    together = prefill(case).split(rows)
    for one in range(3):
        start = sum(rows[:one])
        batch = case.batch
        alone = type(batch)(
            token_ids=batch.token_ids[start : start + rows[one]],
            positions=batch.positions[start : start + rows[one]],
            slots=batch.slots[start : start + rows[one]],
            query_start=torch.tensor([0, rows[one]], dtype=torch.int32),
            context_lens=batch.context_lens[one : one + 1],
            page_tables=batch.page_tables[one : one + 1],
            page_size=16,
            max_query_len=70,
            max_context_len=200,
        )
        assert torch.equal(paged_prefill(case.q[start : start + rows[one]], case.kv, alone, case.scale), together[one])


def test_a_block_reads_each_key_once_for_all_its_rows_and_heads() -> None:
    """Each block reads what its last row sees, and nothing else."""
    case = a_step([70], [60], num_heads=3, num_kv_heads=1, head_dim=16, page_size=16)
    assert isinstance(case.kv, torch.Tensor)
    with trace_kernel(kv=case.kv) as trace:
        prefill(case)
    rows = int(prefill_constants(3, 16, 16, "plain", True, False, 60)["BLOCK"]) // 3
    read: dict[tuple[ProgramId, str], list[tuple[int, int]]] = {}
    for touch in trace.pages_of("kv"):
        read.setdefault((touch.program, touch.half), []).extend((touch.page, slot) for slot in touch.slots)
    table = case.batch.page_tables[0].tolist()
    for (program, _), slots in read.items():
        last = min(10 + rows * (program[0] + 1), 70)
        assert slots == [(table[token // 16], token % 16) for token in range(last)]
    assert len(read) == 2 * -(-60 // rows) > 2 and not trace.strays()


def test_short_chunks_have_small_blocks_and_nothing_else_recompiles() -> None:
    blocks = {
        longest: prefill_constants(3, 64, 16, "plain", False, True, longest)["BLOCK"] for longest in (2, 5, 6, 9999)
    }
    assert blocks == {2: 16, 5: 16, 6: 64, 9999: 64}


def test_a_step_with_chunks_goes_through_the_prefill_kernel() -> None:
    case = a_step([40, 9], [12, 1], num_heads=3, num_kv_heads=1, head_dim=16, page_size=16)
    with trace_kernel() as trace:
        attended = get_attention("triton")(case.q, case.kv, case.batch, case.scale)
    assert [launch.kernel for launch in trace.launches] == ["paged_prefill_kernel"]
    assert worst_error(attended, case.expected()) < 1e-5
