"""What kernels read and write, watched in the interpreter: of small ones exactly, and of paged_decode all of it."""

from __future__ import annotations

from collections import Counter
from threading import Thread
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.accesses import KernelTrace
from pagedlab_kernels.kv_format import QuantizedKV
from pagedlab_kernels.paged_decode import paged_decode
from pagedlab_kernels.trace_kernel import trace_kernel
from tests.kernels.cases import Case, a_step


@triton.jit
def spread_kernel(x_ptr, y_ptr, count_ptr, n, TILE: tl.constexpr):
    """y[2 * i] = x[i] for all i below n."""
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.store(y_ptr + 2 * at, x, mask=at < n)
    tl.atomic_add(count_ptr, 1)


@triton.jit
def tile_kernel(x_ptr, y_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = x, as a block pointer and without a mask."""
    x = tl.make_block_ptr(x_ptr, (ROWS, COLUMNS), (COLUMNS, 1), (0, 0), (4, COLUMNS), (1, 0))
    at = tl.arange(0, 4)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    tl.store(y_ptr + at, tl.load(x, boundary_check=(0,), padding_option="zero"))


@triton.jit
def failing_kernel(x_ptr):
    tl.load(x_ptr)
    tl.static_assert(False, "on purpose")


def spread(x: torch.Tensor, n: int) -> None:
    spread_kernel[(2,)](x, torch.zeros(2 * n), torch.zeros(1, dtype=torch.int32), n, TILE=4)


def seen(trace: KernelTrace) -> list[tuple[Any, ...]]:
    return [(program.id[0], a.kind, a.tensor, a.elements, a.masked) for _, program, a in trace.walk()]


def test_every_access_of_a_kernel_is_recorded_in_order_and_masked_lanes_are_not() -> None:
    x = torch.arange(6.0)
    with trace_kernel(x=x) as trace:
        spread(x, 6)
    assert seen(trace) == [
        (0, "load", "x", [0, 1, 2, 3], 0),
        (0, "store", "y_ptr", [0, 2, 4, 6], 0),
        (0, "atomic", "count_ptr", [0], 0),
        (1, "load", "x", [4, 5], 2),
        (1, "store", "y_ptr", [8, 10], 2),
        (1, "atomic", "count_ptr", [0], 0),
    ]
    launch = trace.launches[0]
    assert (launch.kernel, launch.grid) == ("spread_kernel", (2, 1, 1))
    first = launch.programs[0].accesses[0]
    assert (first.runs, first.width) == ((range(16),), 4)
    assert first.source == "x = tl.load(x_ptr + at, mask=at < n, other=0.0)"
    assert launch.programs[0].accesses[1].runs == (range(0, 4), range(8, 12), range(16, 20), range(24, 28))


@pytest.mark.filterwarnings("ignore:tl.make_block_ptr is deprecated")
def test_block_pointers_and_accesses_without_a_mask_are_heard_too() -> None:
    x, y = torch.ones(3, 8), torch.empty(4, 8)
    with trace_kernel(x=x, y=y) as trace:
        tile_kernel[(1,)](x, y, ROWS=3, COLUMNS=8)
    assert seen(trace) == [(0, "load", "x", list(range(24)), 8), (0, "store", "y", list(range(32)), 0)]


def test_an_access_outside_all_tensors_is_a_stray() -> None:
    memory = torch.zeros(16)
    x = memory[:5]
    with trace_kernel(x=x) as trace:
        spread(x, 6)
    (stray,) = trace.strays()
    assert stray.runs == (range(x.data_ptr() + 20, x.data_ptr() + 24),)
    assert (1, "load", "x", [4], 2) in seen(trace)


def test_hooks_are_gone_when_the_trace_is_closed_and_after_an_error() -> None:
    x, prepare = torch.arange(6.0), interpreter.GridExecutor._init_args_hst
    with trace_kernel(x=x) as trace:
        spread(x, 6)
    spread(x, 6)
    assert len(trace.launches) == 1
    with pytest.raises(interpreter.InterpreterError, match="on purpose"), trace_kernel(x=x) as trace:
        failing_kernel[(1,)](x)
    assert seen(trace) == [(0, "load", "x", [0], 0)]
    spread(x, 6)
    assert len(trace.launches) == 1
    assert interpreter.GridExecutor._init_args_hst is prepare
    assert not any(callable(value) for value in vars(interpreter.interpreter_builder).values())


def test_a_trace_within_a_trace_is_a_part_of_it_and_another_thread_is_not() -> None:
    x = torch.arange(6.0)
    with trace_kernel(x=x) as outer:
        spread(x, 6)
        with trace_kernel(x=x) as inner:
            spread(x, 6)
        thread = Thread(target=spread, args=(x, 6))
        thread.start()
        thread.join()
    assert len(inner.launches) == 1 and len(outer.launches) == 2
    assert inner.launches[0] == outer.launches[1]


def test_a_tensor_that_the_interpreter_would_copy_or_that_has_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x is on cpu with strides \(1, 4\)"), trace_kernel(x=torch.zeros(4, 4).T):
        pass


def test_only_a_tensor_of_pages_has_pages_and_only_names_that_were_given_are_known() -> None:
    with trace_kernel(x=torch.zeros(3, 4, 5, 6)) as trace:
        pass
    with pytest.raises(InvalidQuantity, match=r"x has the shape \(3, 4, 5, 6\)"):
        trace.pages_of("x")
    with pytest.raises(LookupError, match="'y' was asked for; trace_kernel was told of x"):
        trace.traffic("y")


def test_how_often_each_byte_was_read_and_how_contiguously() -> None:
    x = torch.arange(10.0)
    with trace_kernel(x=x) as trace:
        spread(x, 6)
        spread(x[4:8], 2)
    assert trace.traffic("x") == (3, 32, {0: 16, 1: 16, 2: 8}, {8: 2, 16: 1})
    assert trace.traffic("x", "store") == (0, 0, {0: 40}, {})
    assert trace.bytes_by_tensor("store") == {"y_ptr": 32}


# ---- paged_decode

DECODES = pytest.mark.parametrize(
    ("kv_dtype", "head_dim", "page_size", "window", "num_splits"),
    [
        ("float32", 64, 16, None, 1),
        ("float32", 80, 1, None, 3),
        ("float16", 96, 8, 20, 2),
        ("bfloat16", 128, 64, 50, 2),
        ("int8", 64, 16, None, 2),
        ("int4", 64, 4, 20, 1),
        ("fp8", 128, 16, None, 2),
    ],
)


def traced_decode(case: Case, **knobs: Any) -> KernelTrace:
    kv, batch = case.kv, case.batch
    stored = {"kv": kv}
    if isinstance(kv, QuantizedKV):
        stored = {"kv": kv.codes, "scales": kv.scales} | ({} if kv.zeros is None else {"zeros": kv.zeros})
    with trace_kernel(**stored, tables=batch.page_tables) as trace:
        paged_decode(
            case.q,
            kv,
            batch.page_tables,
            batch.context_lens,
            case.scale,
            max_context=batch.max_context_len,
            window=case.window,
            **knobs,
        )
    return trace


def slots_of(case: Case, sequence: int) -> list[tuple[int, int]]:
    """(page, slot) of each token that the sequence's row attends to."""
    length, size = int(case.batch.context_lens[sequence]), case.batch.page_size
    oldest = 0 if case.window is None else max(0, length - case.window)
    table = case.batch.page_tables[sequence].tolist()
    return [(table[token // size], token % size) for token in range(oldest, length)]


@DECODES
def test_every_token_is_read_once_for_each_kv_head_and_nothing_else_is(
    kv_dtype: str, head_dim: int, page_size: int, window: int | None, num_splits: int
) -> None:
    """Behaviour 39, seen: not a slot past the end, behind the window or of others, poisoned or not, is touched."""
    shape = {"num_heads": 6, "num_kv_heads": 2, "head_dim": head_dim, "page_size": page_size}
    case = a_step([70, 17, 1], [1, 1, 1], kv_dtype=kv_dtype, window=window, **shape)
    trace = traced_decode(case, num_splits=num_splits)
    assert trace.strays() == []
    for tensor in trace.tensors.keys() - {"tables"}:
        touched = trace.pages_of(tensor)
        assert {access.kind for access in touched} == {"load"}
        read = Counter((a.program[0], a.half, a.head, a.page, slot) for a in touched for slot in a.slots)
        assert read == {
            (sequence, half, head, page, slot): 1
            for sequence in range(3)
            for half in ("keys", "values")
            for head in range(2)
            for page, slot in slots_of(case, sequence)
        }
        times = trace.traffic(tensor).times
        assert times.keys() == {0, 1} and sum(times.values()) == trace.tensors[tensor].num_bytes


def test_each_program_reads_the_pages_of_its_split_and_head_in_the_order_of_the_tokens() -> None:
    case = a_step([70, 33, 1], [1, 1, 1], num_heads=6, num_kv_heads=2, head_dim=64, page_size=8)
    trace = traced_decode(case, split_tokens=32)
    read: dict[Any, list[tuple[int, int]]] = {}
    for access in trace.pages_of("kv"):
        assert access.head == access.program[1]
        read.setdefault((access.program, access.half), []).extend((access.page, slot) for slot in access.slots)
    assert trace.launches[0].grid == (3, 2, 3)
    for sequence, head, split in ((b, h, s) for b in range(3) for h in range(2) for s in range(3)):
        share = slots_of(case, sequence)[32 * split : 32 * (split + 1)]
        for half in ("keys", "values"):
            assert read.get(((sequence, head, split), half), []) == share


def test_a_table_is_followed_as_far_as_the_split_goes_and_its_unused_entries_are_not_read() -> None:
    case = a_step([40, 9], [1, 1], num_heads=2, num_kv_heads=1, head_dim=64, page_size=8)
    trace = traced_decode(case, split_tokens=16)
    entries = case.batch.page_tables.shape[1]
    asked: dict[Any, set[int]] = {}
    for _, program, access in trace.walk():
        if access.tensor == "tables":
            asked.setdefault(program.id, set()).update(access.elements)
    assert asked == {(0, 0, 0): {0, 1}, (0, 0, 1): {2, 3}, (0, 0, 2): {4}, (1, 0, 0): {entries, entries + 1}}


def test_what_splits_find_is_written_once_and_merged_once() -> None:
    case = a_step([70, 1], [1, 1], num_heads=3, num_kv_heads=1, head_dim=80, page_size=16)
    trace = traced_decode(case, num_splits=3)
    assert [launch.kernel for launch in trace.launches] == ["paged_decode_kernel", "merge_kernel"]
    for tensor, size in {"partial_ptr": 2 * 3 * 3 * 80, "lse_ptr": 2 * 3 * 3, "out_ptr": 2 * 3 * 80}.items():
        for kind in ("store", "load") if tensor != "out_ptr" else ("store",):
            touched = Counter(
                element for _, _, a in trace.walk() if (a.tensor, a.kind) == (tensor, kind) for element in a.elements
            )
            assert touched == dict.fromkeys(range(size), 1)


@pytest.mark.parametrize(("page_size", "run"), [(1, 256), (8, 2048), (16, 4096)])
def test_a_page_of_a_head_is_one_contiguous_run_whatever_its_size(page_size: int, run: int) -> None:
    case = a_step([32], [1], num_heads=4, num_kv_heads=2, head_dim=64, page_size=page_size)
    assert traced_decode(case, num_splits=1).traffic("kv").run_lengths == {run: 2 * 2 * 32 // page_size}
