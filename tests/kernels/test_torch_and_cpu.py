"""The reference and the CPU path against the float64 oracle (behaviours 36, 37 and 39)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels import AttentionFn, get_attention
from pagedlab_kernels.cpu import attention as cpu_module
from pagedlab_kernels.cpu import native
from pagedlab_kernels.cpu.attention import cpu_attention, fallback_attention
from pagedlab_kernels.kv_format import KV_DTYPES, write_kv
from pagedlab_kernels.reference import oracle_attention
from tests.kernels.cases import NOWHERE, PATHS, Case, a_step, decodes_around_a_page, with_batch, worst_error

ROOT = Path(__file__).resolve().parents[2]


@PATHS
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
@pytest.mark.parametrize("page_size", [1, 8, 16, 64, 256])
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(2, 2), (9, 3), (8, 2), (10, 2), (7, 1), (8, 1)])
def test_scattered_pages_give_what_the_formula_says(
    attention: AttentionFn, head_dim: int, page_size: int, num_heads: int, num_kv_heads: int
) -> None:
    """Behaviours 36 and 39."""
    case = decodes_around_a_page(num_heads, num_kv_heads, head_dim, page_size)
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attention(case.q, case.kv, case.batch, case.scale), expected) < 1e-5


@PATHS
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_decode_rows_and_chunks_mix_in_one_step(attention: AttentionFn, data: st.DataObject) -> None:
    context_lens = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=5), "context_lens")
    query_lens = [data.draw(st.one_of(st.just(1), st.integers(1, length))) for length in context_lens]
    num_kv_heads = data.draw(st.integers(1, 3))
    kv_dtype = data.draw(st.sampled_from(KV_DTYPES), "kv_dtype")
    case = a_step(
        context_lens,
        query_lens,
        num_heads=num_kv_heads * data.draw(st.integers(1, 5), "group"),
        num_kv_heads=num_kv_heads,
        head_dim=data.draw(st.sampled_from([2, 8, 14, 24, 64, 264] if kv_dtype == "int4" else [1, 5, 13, 24, 64, 264])),
        page_size=data.draw(st.integers(1, 40)),
        kv_dtype=kv_dtype,
        window=data.draw(st.none() | st.integers(1, 100), "window"),
        seed=data.draw(st.integers(0, 100)),
    )
    assert worst_error(case.attend(attention), case.expected()) < 1e-5


@PATHS
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_a_long_context_may_be_split_over_threads(attention: AttentionFn, num_threads: int) -> None:
    """Behaviour 37."""
    case = a_step([1025, 1027, 3], [1, 1, 2], num_heads=9, num_kv_heads=3, head_dim=64, page_size=16)
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        assert worst_error(attention(case.q, case.kv, case.batch, case.scale), expected) < 1e-5
    finally:
        torch.set_num_threads(before)


@PATHS
def test_scores_far_apart_neither_overflow_nor_vanish(attention: AttentionFn) -> None:
    case = a_step([70, 33], [1, 5], num_heads=6, num_kv_heads=2, head_dim=16, page_size=4)
    for scale in (1e-3, 30.0, 3000.0):
        expected = oracle_attention(case.q, case.kv, case.batch, scale)
        # A score of thousands carries an absolute error of its own rounding, which exp makes a relative one.
        bound = 1e-5 if scale < 1 else 1e-2
        assert worst_error(attention(case.q, case.kv, case.batch, scale), expected) < bound


def test_new_keys_and_values_land_in_their_slots_and_nowhere_else() -> None:
    kv = torch.zeros(2, 4, 3, 5, 8)
    k, v = torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    write_kv(k, v, kv, torch.tensor([7, 0, 19]))
    for row, (page, offset) in enumerate([(1, 2), (0, 0), (3, 4)]):
        assert torch.equal(kv[0, page, :, offset], k[row]) and torch.equal(kv[1, page, :, offset], v[row])
    assert int((kv != 0).any(-1).sum()) == 2 * 3 * 3


def test_the_oracle_agrees_with_one_softmax_written_out_by_hand() -> None:
    case = a_step([2], [1], num_heads=1, num_kv_heads=1, head_dim=1, page_size=1)
    first, second = case.batch.page_tables[0, :2].tolist()
    case.kv[0, first], case.kv[0, second] = 0.0, torch.log(torch.tensor(3.0))  # weights 1/4 and 3/4
    case.kv[1, first], case.kv[1, second] = 8.0, 4.0
    case.q[:] = 1.0
    assert oracle_attention(case.q, case.kv, case.batch, 1.0).item() == pytest.approx(0.25 * 8 + 0.75 * 4)


def test_a_key_that_is_not_a_number_is_not_hidden_from_those_who_see_it() -> None:
    case = a_step([1030, 9], [1, 1], num_heads=3, num_kv_heads=1, head_dim=8, page_size=4)
    case.kv[0, case.batch.page_tables[0, 3], :, 1] = torch.nan
    attended = cpu_attention(case.q, case.kv, case.batch, case.scale)
    assert attended[0].isnan().all() and not attended[1].isnan().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, q=c.q[:, :, :4]), "do not fit"),
        (lambda c: replace(c, q=c.q[:, :2]), "do not fit"),
        (lambda c: replace(c, q=c.q[0]), "do not fit"),
        (lambda c: replace(c, kv=c.kv[0]), "do not fit"),
        (lambda c: replace(c, q=c.q.double()), "float64"),
        (lambda c: replace(c, kv=c.kv.transpose(2, 3).contiguous().transpose(2, 3)), "contiguous"),
        (lambda c: with_batch(c, page_size=8), "pages of 8"),
        (lambda c: with_batch(c, page_tables=c.batch.page_tables.long()), "page_tables is torch.int64"),
        (lambda c: with_batch(c, page_tables=c.batch.page_tables[:, :1]), "page_tables .* shape"),
        (lambda c: with_batch(c, query_start=c.batch.query_start[1:]), "query_start .* shape"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: Callable[[Case], Case], message: str) -> None:
    case = change(a_step([9], [1], num_heads=3, num_kv_heads=3, head_dim=8, page_size=4))
    with pytest.raises(ValueError, match=message):
        cpu_attention(case.q, case.kv, case.batch, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"page_tables": [[NOWHERE, 1, 2], [3, 4, 5]]}, "names a page"),
        ({"page_tables": [[0, 1, 2], [3, 4, 10**6]]}, "names a page"),
        ({"context_lens": [9, 13]}, "longer than its page table"),
        ({"context_lens": [9, 1]}, "shorter than its own query rows"),
        ({"query_start": [0, 1, 10**6]}, "does not rise"),
        ({"query_start": [0, 7, 3]}, "does not rise"),
        ({"query_start": [-4, 1, 3]}, "does not rise"),
    ],
)
def test_a_number_that_leads_outside_a_tensor_is_refused_before_it_is_followed(
    changes: dict[str, list[int]], message: str
) -> None:
    if native.native_library() is None:
        pytest.skip("there is no C compiler here")
    case = a_step([9, 10], [1, 2], num_heads=3, num_kv_heads=3, head_dim=8, page_size=4)
    case = with_batch(case, page_tables=case.batch.page_tables[:, :3])
    case = with_batch(case, **{name: torch.tensor(value, dtype=torch.int32) for name, value in changes.items()})
    with pytest.raises(InvalidQuantity, match=message):
        cpu_attention(case.q, case.kv, case.batch, 1.0)


def test_gathering_again_and_again_takes_memory_once() -> None:
    case = a_step([40, 9], [1, 3], num_heads=2, num_kv_heads=1, head_dim=8, page_size=4)
    with torch.inference_mode():
        fallback_attention(case.q, case.kv, case.batch, case.scale)
    lent = cpu_module._this_thread.scratch
    fallback_attention(case.q, case.kv, case.batch, case.scale)
    assert cpu_module._this_thread.scratch is lent


def test_programs_that_build_the_kernel_at_once_do_no_harm(tmp_path: Path) -> None:
    if native.find_compiler() is None:
        pytest.skip("there is no C compiler here")
    program = "from pagedlab_kernels.cpu import native; assert native.why_not_native() is None"
    environment = {**os.environ, "PAGEDLAB_CACHE": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment) for _ in range(2)]
    assert [child.wait() for child in running] == [0, 0]
    (library,) = (tmp_path / "native").iterdir()
    assert library.suffix == ".so"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PAGEDLAB_NATIVE": "0"}, "switched off"),
        ({"PATH": "", "CC": ""}, "no C compiler"),
        ({"CC": "false"}, "could not build"),
    ],
    ids=["switched off", "no compiler", "a compiler that fails"],
)
def test_without_a_compiler_the_cpu_path_gathers_and_says_so(
    environment: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PAGEDLAB_CACHE": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    program = (
        "from tests.kernels.cases import *\n"
        "from pagedlab_kernels import available_attention, get_attention\n"
        "from pagedlab_kernels.reference import oracle_attention\n"
        "c = a_step([9, 30], [1, 4], num_heads=6, num_kv_heads=2, head_dim=8, page_size=4)\n"
        "out = get_attention('cpu')(c.q, c.kv, c.batch, c.scale)\n"
        "assert worst_error(out, oracle_attention(c.q, c.kv, c.batch, c.scale)) < 1e-5\n"
        "print(available_attention()['cpu'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert reason in done.stdout


def test_an_unknown_path_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="reference, cpu, triton"):
        get_attention("flash")
