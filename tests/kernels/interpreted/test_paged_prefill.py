"""The Triton kernel for chunks, interpreted, against the float64 oracle (behaviours 36, 38 and 39)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from pagedlab_kernels import get_attention
from pagedlab_kernels.accesses import ProgramId
from pagedlab_kernels.paged_prefill import paged_prefill, prefill_constants
from pagedlab_kernels.reference import oracle_attention
from pagedlab_kernels.splits import choose_splits
from pagedlab_kernels.trace_kernel import trace_kernel
from pagedlab_kernels.triton_attention import triton_attention
from tests.kernels.cases import Case, a_step, worst_error

BOUND = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def prefill(case: Case, **more: float) -> torch.Tensor:
    return paged_prefill(case.q, case.kv, case.batch, case.scale, window=case.window, **more)  # type: ignore[arg-type]


def some_of(case: Case, chosen: dict[int, range]) -> Case:
    """A step of its own for these sequences, or for a part of their chunks: sequence -> which of its rows."""
    batch = case.batch
    starts, ends = batch.query_start[:-1].tolist(), batch.query_start[1:].tolist()
    rows = [starts[sequence] + row for sequence, part in chosen.items() for row in part]
    lens = [int(batch.context_lens[s]) - (ends[s] - starts[s]) + part.stop for s, part in chosen.items()]
    step = replace(
        batch,
        token_ids=batch.token_ids[rows],
        positions=batch.positions[rows],
        slots=batch.slots[rows],
        query_start=torch.tensor([0, *map(len, chosen.values())]).cumsum(0).int(),
        context_lens=torch.tensor(lens, dtype=torch.int32),
        page_tables=batch.page_tables[list(chosen)],
        max_query_len=max(map(len, chosen.values())),
        max_context_len=max(lens),
    )
    return Case(case.q[rows], case.kv, step, case.window)


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
        alone = some_of(case, {one: range(rows[one])})
        alone.batch = replace(alone.batch, max_query_len=70)  # which decides how large blocks are
        assert torch.equal(prefill(alone), together[one])


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


@pytest.mark.parametrize(
    ("num_splits", "kv_dtype", "window"),
    [(2, "float32", None), (3, "int8", None), (7, "float32", 50), (3, "int4", 200), (2, "fp8", 7), (17, "float32", 1)],
)
def test_one_split_and_many_agree_and_empty_ones_weigh_nothing(
    num_splits: int, kv_dtype: str, window: int | None
) -> None:
    """Behaviour 37, for prompts, chunks, drafts and decode rows behind nothing and behind much."""
    shape = {"num_heads": 3, "num_kv_heads": 1, "head_dim": 64, "page_size": 16}
    case = a_step([301, 40, 3, 280, 340, 1], [1, 40, 3, 3, 40, 1], kv_dtype=kv_dtype, window=window, **shape)
    assert worst_error(prefill(case, num_splits=num_splits), case.expected()) < 1e-5


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of what is far beyond the cap: it works out
def test_splits_leave_what_a_soft_cap_makes_of_the_scores() -> None:
    case = a_step([340, 5], [40, 2], num_heads=4, num_kv_heads=2, head_dim=16, page_size=16)
    case.q *= 10
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale, softcap=0.3)
    assert worst_error(prefill(case, softcap=0.3, num_splits=3), expected) < 1e-5


@pytest.mark.parametrize("knob", ["num_splits", "split_tokens"])
@pytest.mark.parametrize("window", [1, 9])
def test_the_last_rows_of_a_block_may_see_nothing_of_its_first_splits(
    window: int, knob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tiles are shorter than blocks are high: as on a chip, for queries of 16 bits."""

    def constants(*given: object) -> dict[str, int | str]:
        return prefill_constants(*given) | {"BLOCK": 64, "TILE": 16}  # type: ignore[arg-type]

    monkeypatch.setattr("pagedlab_kernels.paged_prefill.prefill_constants", constants)
    case = a_step([80, 30], [64, 3], num_heads=1, num_kv_heads=1, head_dim=16, page_size=16, window=window)
    assert worst_error(prefill(case, **{knob: 5}), case.expected()) < 1e-5


@pytest.mark.parametrize(("kv_dtype", "window"), [("float32", None), ("float32", 70), ("int8", None)])
def test_with_splits_of_one_size_a_row_has_the_same_bits_in_any_step(kv_dtype: str, window: int | None) -> None:
    """Alone, among decode rows, beside drafts and beside prompts."""
    lens, rows = [400, 90, 203, 40, 1], [1, 70, 3, 40, 1]
    shape = {"num_heads": 3, "num_kv_heads": 1, "head_dim": 64, "page_size": 16}
    case = a_step(lens, rows, kv_dtype=kv_dtype, window=window, **shape)

    def attend(step: Case) -> torch.Tensor:
        return triton_attention(step.q, step.kv, step.batch, step.scale, window=window, split_tokens=100)

    together = attend(case)
    assert worst_error(together, case.expected()) < 1e-5
    apart = together.split(rows)
    for company in ([0], [1], [2], [4, 0], [3, 0, 2]):
        there = attend(some_of(case, {one: range(rows[one]) for one in company}))
        assert torch.equal(there, torch.cat([apart[one] for one in company])), company


def test_with_splits_of_one_size_a_row_has_the_same_bits_however_its_prompt_is_cut() -> None:
    case = a_step([230], [70], num_heads=3, num_kv_heads=1, head_dim=64, page_size=16)
    whole = prefill(case, split_tokens=48)
    for cuts in ([0, 1, 70], [0, 25, 33, 70], [0, 10, 20, 69, 70]):
        chunks = [range(*cut) for cut in pairwise(cuts)]
        parts = [prefill(some_of(case, {0: chunk}), split_tokens=48) for chunk in chunks]
        assert torch.equal(torch.cat(parts), whole), cuts


@pytest.mark.parametrize(
    ("rows", "num_splits"),
    [
        (3, 4),  # drafts: one block, and four places
        (10, 2),  # two blocks, one of which has nothing to do: nobody knows
        (40, 1),  # five blocks
    ],
)
def test_a_context_is_split_where_blocks_leave_places_free(
    rows: int, num_splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagedlab_kernels.paged_prefill.num_processors", lambda q: 2)
    case = a_step([1100], [rows], num_heads=3, num_kv_heads=1, head_dim=16, page_size=16)
    assert isinstance(case.kv, torch.Tensor)
    with trace_kernel(kv=case.kv) as trace:
        attended = prefill(case)
    assert worst_error(attended, case.expected()) < 1e-5 and not trace.strays()
    blocks, _, splits = trace.launches[0].grid
    assert splits == num_splits and len(trace.launches[0].programs) == blocks * splits
    merges = ["merge_kernel"] if num_splits > 1 else []
    assert [launch.kernel for launch in trace.launches] == ["paged_prefill_kernel", *merges]
    if blocks - (rows == 10) == 1:
        assert set(trace.traffic("kv").times) <= {0, 1}, "splits share a context out among them"


@pytest.mark.parametrize(
    ("blocks", "heads", "context", "splits"),
    [
        (1, 8, 65536, 33),  # five drafts: 264 programs, two for each of 132 processors
        (1, 8, 1500, 5),  # as many as have 256 tokens
        (1, 8, 500, 1),
        (5, 8, 65536, 6),  # 64 rows of 4 heads, and a block that may be empty
        (33, 8, 65536, 1),  # 512 rows: every place is taken
        (34, 8, 10**6, 1),  # and one more would be a second wave, however long
    ],
)
def test_blocks_are_cut_to_fill_free_places_and_no_further(blocks: int, heads: int, context: int, splits: int) -> None:
    assert choose_splits(blocks, heads, context, num_processors=132, waves=1) == splits


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
