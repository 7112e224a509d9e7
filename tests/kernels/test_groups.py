"""Weights in groups of 4 and 8 bits: what is kept, and that products are those of the same weights in float32."""

from __future__ import annotations

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pagedlab_kernels.cpu import linear
from pagedlab_kernels.cpu.groups import Groups, bits_of, fits_groups, pack, quantize, rows_of, unpack
from pagedlab_kernels.cpu.native import why_not_native

needs_compiler = pytest.mark.skipif(why_not_native() is not None, reason="there is no C compiler")
Formats = gguf.GGMLQuantizationType
both = pytest.mark.parametrize("bits", [4, 8])


def some_groups(bits: int, outputs: int, groups: int, seed: int = 0) -> Groups:
    """Every code there is; scales of either sign and of all sizes that float16 has, its least ones too."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(2, outputs, groups, generator=generator)
    shared *= 2.0 ** torch.randint(-24, 3, shared.shape, generator=generator)
    codes = torch.randint(2**bits, (outputs, 32 * groups), generator=generator, dtype=torch.uint8)
    scales, least = shared.half()
    return Groups(codes, scales, least if bits == 4 else None)


def by_the_formula(matrix: Groups) -> Tensor:
    """In float64, where nothing is rounded."""
    scales = matrix.scales.double().repeat_interleave(32, dim=1)
    least = -128 * scales if matrix.least is None else matrix.least.double().repeat_interleave(32, dim=1)
    return scales * matrix.codes + least


@both
def test_a_weight_is_its_scale_times_its_code_and_the_least_value_rounded_once(bits: int) -> None:
    matrix = some_groups(bits, 32, 7)
    assert torch.equal(matrix.matrix, by_the_formula(matrix).float())


@needs_compiler
@settings(deadline=None, max_examples=60)
@given(
    bits=st.sampled_from([4, 8]),
    rows=st.integers(1, 20) | st.integers(90, 200),
    groups=st.integers(1, 5),
    panels=st.integers(1, 5),
    has_bias=st.booleans(),
    gap=st.integers(0, 3),
)
def test_products_are_bit_for_bit_those_of_the_same_weights_in_float32(
    bits: int, rows: int, groups: int, panels: int, has_bias: bool, gap: int
) -> None:
    matrix = some_groups(bits, 16 * panels, groups, seed=rows)
    bias = torch.randn(16 * panels) if has_bias else None
    wide = torch.full((rows, 32 * groups + gap), torch.nan)
    x = wide[:, : 32 * groups]
    x.copy_(torch.randn(x.shape))
    product = linear.panel_linear(x, pack(matrix), bias=bias)
    assert torch.equal(product, linear.panel_linear(x, linear.pack(matrix.matrix), bias=bias))
    expected = x.double() @ by_the_formula(matrix).T + (0 if bias is None else bias.double())
    bound = x.double().abs() @ by_the_formula(matrix).abs().T + 1
    assert ((product - expected).abs() <= 1e-5 * bound).all()


@needs_compiler
@both
@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_row_gets_does_not_depend_on_the_others_bit_for_bit(bits: int, threads: int) -> None:
    panels, x = pack(some_groups(bits, 176, 5)), torch.randn(110, 160)
    before = torch.get_num_threads()
    alone = torch.cat([linear.panel_linear(row[None], panels) for row in x])
    torch.set_num_threads(threads)
    try:
        for count in (2, 3, 4, 5, 6, 7, 8, 13, 96, 97, 110):
            assert torch.equal(linear.panel_linear(x[:count], panels), alone[:count])
    finally:
        torch.set_num_threads(before)


@both
def test_panels_hold_the_groups_and_give_out_their_rows(bits: int) -> None:
    matrix = some_groups(bits, 48, 3)
    panels = pack(matrix)
    assert bits_of(panels) == bits and linear.in_features(panels) == 96
    assert torch.equal(unpack(panels).matrix, matrix.matrix) and torch.equal(unpack(panels).codes, matrix.codes)
    assert torch.equal(linear.unpack(panels), matrix.matrix)
    ids = torch.tensor([47, 0, 16, 15, 16])
    assert torch.equal(rows_of(panels, ids).codes, matrix.codes[ids])
    assert torch.equal(linear.rows_of(panels, ids), matrix.matrix[ids])


@pytest.mark.parametrize(("bits", "stored"), [(4, 5.0), (8, 8.5)])
def test_a_weight_takes_its_bits_and_its_share_of_the_groups(bits: int, stored: float) -> None:
    assert 8 * pack(some_groups(bits, 64, 9)).nbytes == stored * 64 * 32 * 9


@both
@given(size=st.sampled_from([1e-6, 1e-3, 1.0, 1e3]), centre=st.floats(-3, 3))
def test_a_number_is_off_by_half_a_step_at_most_and_by_what_float16_rounds(
    bits: int, size: float, centre: float
) -> None:
    weight = size * (torch.randn(16, 96) + centre)
    matrix = quantize(weight, bits)
    groups = weight.unflatten(1, (-1, 32))
    step = matrix.scales.float()
    ends = groups.abs().amax(-1) + (groups.amax(-1) - groups.amin(-1))
    smallest = 2.0 ** (bits - 25)  #: what rounding to float16's smallest number adds up to over a ladder
    bound = 0.5 * step + 2.0**-11 * ends + smallest
    assert ((matrix.matrix - weight).abs().unflatten(1, (-1, 32)) <= bound[..., None]).all()


@pytest.mark.parametrize(("bits", "kind"), [(4, Formats.Q4_1), (8, Formats.Q8_0)])
def test_rounding_loses_no_more_than_llama_cpps_own_rounding_to_the_same_format(bits: int, kind: Formats) -> None:
    weight = torch.randn(64, 320)
    theirs = torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), kind), kind))
    assert (quantize(weight, bits).matrix - weight).norm() < 1.001 * (theirs - weight).norm()


@both
def test_a_group_of_one_number_is_kept_as_float16_keeps_it(bits: int) -> None:
    weight = torch.zeros(16, 64)
    if bits == 4:
        weight[3, 32:] = 0.3
    assert torch.equal(quantize(weight, bits).matrix, weight.half().float())


@pytest.mark.parametrize("wrong", [1e5, torch.nan, torch.inf])
def test_what_float16_cannot_scale_and_what_is_not_whole_groups_does_not_fit(wrong: float) -> None:
    weight = torch.randn(16, 64)
    assert fits_groups(weight) and not fits_groups(weight[:, :48])
    weight[2, 5] = wrong
    assert not fits_groups(weight)
