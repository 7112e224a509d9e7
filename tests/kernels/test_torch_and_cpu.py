"""The reference and the CPU path against the float64 oracle (behaviours 36, 37 and 39)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab_kernels import get_attention
from pagedlab_kernels.cpu import native
from pagedlab_kernels.cpu.attention import cpu_attention
from pagedlab_kernels.reference import gather_attention, oracle_attention, write_kv
from tests.kernels.cases import a_step, worst_error

PATHS = pytest.mark.parametrize("attention", [gather_attention, cpu_attention], ids=["reference", "cpu"])


@pytest.fixture(scope="module", autouse=True)
def _native_kernel_is_what_is_tested() -> None:
    if native.find_compiler() is not None:
        assert native.why_not_native() is None


@PATHS
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
@pytest.mark.parametrize("page_size", [1, 8, 16, 64, 256])
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(2, 2), (9, 3), (8, 2), (10, 2), (7, 1), (8, 1)])
def test_scattered_pages_give_what_the_formula_says(
    attention: object, head_dim: int, page_size: int, num_heads: int, num_kv_heads: int
) -> None:
    lengths = sorted({1, max(1, page_size - 1), page_size, page_size + 1})
    case = a_step(
        lengths,
        [1] * len(lengths),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        page_size=page_size,
    )
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attention(case.q, case.kv, case.batch, case.scale), expected) < 1e-5  # type: ignore[operator]


@PATHS
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_decode_rows_and_chunks_mix_in_one_step(attention: object, data: st.DataObject) -> None:
    context_lens = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=5), "context_lens")
    query_lens = [data.draw(st.one_of(st.just(1), st.integers(1, length))) for length in context_lens]
    num_kv_heads = data.draw(st.integers(1, 3))
    case = a_step(
        context_lens,
        query_lens,
        num_heads=num_kv_heads * data.draw(st.integers(1, 5), "group"),
        num_kv_heads=num_kv_heads,
        head_dim=data.draw(st.sampled_from([1, 5, 8, 13, 24, 64])),
        page_size=data.draw(st.integers(1, 40)),
        seed=data.draw(st.integers(0, 100)),
    )
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attention(case.q, case.kv, case.batch, case.scale), expected) < 1e-5  # type: ignore[operator]


@PATHS
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_a_long_context_may_be_split_over_threads(attention: object, num_threads: int) -> None:
    case = a_step([1025, 1027, 3], [1, 1, 2], num_heads=9, num_kv_heads=3, head_dim=64, page_size=16)
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        assert worst_error(attention(case.q, case.kv, case.batch, case.scale), expected) < 1e-5  # type: ignore[operator]
    finally:
        torch.set_num_threads(before)


@PATHS
def test_scores_far_apart_neither_overflow_nor_vanish(attention: object) -> None:
    case = a_step([70, 33], [1, 5], num_heads=6, num_kv_heads=2, head_dim=16, page_size=4)
    for scale in (1e-3, 30.0, 3000.0):
        expected = oracle_attention(case.q, case.kv, case.batch, scale)
        # A score of thousands carries an absolute error of its own rounding, which exp makes a relative one.
        bound = 1e-5 if scale < 1 else 1e-2
        assert worst_error(attention(case.q, case.kv, case.batch, scale), expected) < bound  # type: ignore[operator]


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (c.q[:, :, :4], c.kv, c.batch), "do not fit"),
        (lambda c: (c.q[:, :2], c.kv, c.batch), "do not fit"),
        (lambda c: (c.q, c.kv.transpose(2, 3).contiguous().transpose(2, 3), c.batch), "contiguous"),
    ],
)
def test_a_tensor_that_does_not_fit_never_reaches_the_native_kernel(change: object, message: str) -> None:
    if native.native_library() is None:
        pytest.skip("there is no C compiler here")
    case = a_step([9], [1], num_heads=3, num_kv_heads=3, head_dim=8, page_size=4)
    q, kv, batch = change(case)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        cpu_attention(q, kv, batch, 1.0)


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
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert reason in done.stdout


def test_an_unknown_path_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="reference, cpu, triton"):
        get_attention("flash")
