"""Products with matrices in panels, against float64."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab_kernels.cpu import linear
from pagedlab_kernels.cpu.native import why_not_native

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="there is no C compiler")

FORMATS = [torch.float32, torch.bfloat16, torch.float16, torch.int8]


def a_matrix(dtype: torch.dtype, outputs: int, inputs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    return linear.quantize_rows(weight) if dtype == torch.int8 else (weight.to(dtype), None)


def expected(
    x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    product = x.double() @ weight.double().T
    if scales is not None:
        product *= scales.double()
    return product if bias is None else product + bias.double()


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(FORMATS),
    rows=st.integers(1, 20) | st.integers(90, 200),
    inputs=st.integers(1, 150).map(lambda half: 2 * half),
    panels=st.integers(1, 5),
    has_bias=st.booleans(),
    gap=st.integers(0, 3),
)
def test_any_shape_gives_the_product_and_reads_its_own_rows_only(
    dtype: torch.dtype, rows: int, inputs: int, panels: int, has_bias: bool, gap: int
) -> None:
    weight, scales = a_matrix(dtype, 16 * panels, inputs)
    bias = torch.randn(16 * panels) if has_bias else None
    wide = torch.full((rows, inputs + gap), torch.nan)
    x = wide[:, :inputs]
    x.copy_(torch.randn(rows, inputs))
    product = linear.panel_linear(x, linear.pack(weight), scales, bias)
    error = (product.double() - expected(x, weight, scales, bias)).abs()
    assert (error <= 1e-4 + 1e-4 * product.abs() + from_rounding(x, weight, scales)).all()


def from_rounding(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor | float:
    """What rounding x may change where weights have 8 bits: half a step of each number, met by its weight."""
    if scales is None:
        return 0.0
    steps = torch.cat([block.abs().amax(1, keepdim=True).expand_as(block) for block in x.split(64, 1)], 1) / 32767
    return 0.5 * steps.double() @ (weight * scales[:, None]).abs().double().T


@pytest.mark.parametrize("value", [3e38, 1e-20, 1e-37])
def test_whole_numbers_do_not_overflow_and_floats_of_any_size_are_rounded(value: float) -> None:
    codes, scales = torch.full((16, 192), 127, dtype=torch.int8), torch.full((16,), 1e-3)
    codes[1::2] = -127
    product = linear.panel_linear(torch.full((1, 192), value), linear.pack(codes), scales)
    torch.testing.assert_close(product, (codes.double().sum(1) * 1e-3 * value).float()[None], rtol=1e-4, atol=1e-28)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_makes_its_own_row_so_and_no_other(wrong: float) -> None:
    codes, scales = linear.quantize_rows(torch.randn(32, 100))
    x = torch.randn(3, 100)
    x[1, 99] = wrong
    product = linear.panel_linear(x, linear.pack(codes), scales)
    assert not product[1].isfinite().any() and product[[0, 2]].isfinite().all()


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_row_gets_does_not_depend_on_the_others_bit_for_bit(dtype: torch.dtype, threads: int) -> None:
    weight, scales = a_matrix(dtype, 176, 130)
    panels, x = linear.pack(weight), torch.randn(110, 130)
    before = torch.get_num_threads()
    alone = torch.cat([linear.panel_linear(row[None], panels, scales) for row in x])
    torch.set_num_threads(threads)
    try:
        for count in (2, 3, 4, 5, 6, 7, 8, 13, 110):
            assert torch.equal(linear.panel_linear(x[:count], panels, scales), alone[:count])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", FORMATS)
def test_panels_hold_the_matrix_and_give_out_its_rows(dtype: torch.dtype) -> None:
    weight = a_matrix(dtype, 48, 6)[0]
    panels = linear.pack(weight)
    assert torch.equal(linear.unpack(panels), weight)
    ids = torch.tensor([47, 0, 16, 15, 16])
    assert torch.equal(linear.rows_of(panels, ids), weight[ids])


def test_eight_bits_are_off_by_half_a_step_at_most() -> None:
    weight = torch.randn(32, 50)
    weight[3] = 0
    codes, scales = linear.quantize_rows(weight)
    assert ((codes * scales[:, None] - weight).abs() <= 0.5001 * scales[:, None]).all()
    assert codes.abs().amax() == 127 and codes[3].eq(0).all()


def test_the_result_has_the_type_of_what_was_multiplied() -> None:
    panels = linear.pack(torch.randn(16, 8))
    assert linear.panel_linear(torch.randn(2, 8).bfloat16(), panels).dtype == torch.bfloat16


def test_what_does_not_fit_is_refused() -> None:
    panels = linear.pack(torch.randn(16, 8))
    with pytest.raises(ValueError, match=r"\(2, 7\) does not fit panels of shape \(1, 8, 16\)"):
        linear.panel_linear(torch.randn(2, 7), panels)
    for weight in (torch.randn(17, 8), torch.randn(16, 7), torch.randn(16, 8).double()):
        assert not linear.fits_panels(weight)


def test_callers_in_many_threads_at_once_each_get_their_own_product() -> None:
    """There is one team of threads: who finds it at work does without."""
    weight = torch.randn(512, 300)
    panels, inputs = linear.pack(weight), torch.randn(6, 40, 300)
    expected = [linear.panel_linear(x, panels) for x in inputs]

    def many_times(number: int) -> bool:
        return all(torch.equal(linear.panel_linear(inputs[number], panels), expected[number]) for _ in range(50))

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(many_times, range(6)))
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_forks_leaves_its_child_able_to_work() -> None:
    program = (
        "import os, torch\n"
        "from pagedlab_kernels.cpu.linear import pack, panel_linear\n"
        "torch.set_num_threads(2)\n"
        "panels, x = pack(torch.ones(512, 300)), torch.ones(40, 300)\n"
        "def works(): return bool((panel_linear(x, panels) == 300).all())\n"
        "assert works()\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if works() and works() else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and works()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
