"""KV formats: how far a number, and what attention makes of it, may be from what was written (behaviour 38)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pagedlab.errors import InvalidConfig
from pagedlab_kernels import AttentionFn
from pagedlab_kernels.cpu.attention import cpu_attention
from pagedlab_kernels.kv_format import (
    KV_DTYPES,
    PLAIN,
    QuantizedKV,
    as_layer,
    dequantize,
    gather_pages,
    kv_parts,
    quantize,
    write_kv,
)
from tests.kernels.cases import PATHS, Case, a_step, stored, worst_error

QUANTIZED = ("int8", "int4", "fp8")
FORMATS = pytest.mark.parametrize("kv_dtype", KV_DTYPES)
QUANTIZED_FORMATS = pytest.mark.parametrize("kv_dtype", QUANTIZED)


def kept(x: Tensor, kv_dtype: str) -> Tensor:
    """What ``x: [..., D]`` comes back as, in float64."""
    if kv_dtype in PLAIN:
        return x.to(PLAIN[kv_dtype]).double()
    return dequantize(kv_dtype, *quantize(x, kv_dtype)).double()


def error_bound(x: Tensor, kv_dtype: str) -> Tensor:
    """The table of kv_format.py, number by number."""
    x = x.double()
    largest = x.abs().amax(-1, keepdim=True)
    ulp = 2**-21 * largest + 2.0**-126  # below that float32 runs out of exponents, and a scale of bits
    if kv_dtype == "fp8":
        scale = largest / 448
        return torch.where(x.abs() < scale / 64, scale / 1024, x.abs() / 16) + ulp
    if kv_dtype in QUANTIZED:
        scale = (x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True)) / {"int8": 255, "int4": 15}[kv_dtype]
        return (scale / 2 + ulp).expand_as(x)
    return x.abs() * {"float32": 0, "bfloat16": 1 / 256, "float16": 1 / 2048}[kv_dtype] + {"float16": 2**-25}.get(
        kv_dtype, 2.0**-126
    )


@FORMATS
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_number_moves_further_than_its_format_allows(kv_dtype: str, data: st.DataObject) -> None:
    """Behaviour 38."""
    largest = data.draw(st.sampled_from([1e-30, 1e-3, 1.0, 6e4] + ([] if kv_dtype == "float16" else [1e30, 1.7e38])))
    number = st.floats(-1, 1, width=32)
    offset = data.draw(st.just(0.0) | number, "offset")
    vectors = data.draw(st.lists(st.lists(number, min_size=8, max_size=8), min_size=1, max_size=4))
    spread = data.draw(st.sampled_from([1.0, 1e-3, 1e-7]), "spread")
    x = largest * (offset * (1 - spread) + spread * torch.tensor(vectors))
    assert ((kept(x, kv_dtype) - x.double()).abs() <= error_bound(x, kv_dtype)).all()


@FORMATS
@pytest.mark.parametrize("number", [0.0, 1.0, -3.25, 1e-30, 448.0, 65504.0])
def test_a_vector_of_one_number_over_and_over_comes_back(kv_dtype: str, number: float) -> None:
    x = torch.full((3, 8), number)
    back = kept(x, kv_dtype)
    if kv_dtype in ("float32", "int8", "int4") or number == 0:
        assert torch.equal(back, x.double())
    assert ((back - x.double()).abs() <= error_bound(x, kv_dtype)).all()


@pytest.mark.parametrize(("kv_dtype", "largest"), [("int8", 370), ("int4", 20), ("fp8", 600)])
def test_numbers_so_small_that_their_scale_is_cut_short_keep_their_order(kv_dtype: str, largest: int) -> None:
    smallest_float = 2.0**-149
    x = torch.linspace(0, largest, 8).round() * smallest_float
    back = kept(x[None], kv_dtype)[0]
    assert (back.diff() >= 0).all() and back.max() <= largest * smallest_float


@QUANTIZED_FORMATS
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_spoils_its_own_vector_and_no_other(kv_dtype: str, number: float) -> None:
    x = torch.randn(3, 8)
    x[1, 4] = number
    back = kept(x, kv_dtype)
    assert back[1].isnan().all() and not back[[0, 2]].isnan().any()


def test_int4_keeps_two_numbers_a_byte() -> None:
    x = torch.tensor([[0.0, 1, 2, 3, 15, 14, 13, 12]])
    codes, scales, zeros = quantize(x, "int4")
    assert codes.tolist() == [[0 + 16 * 15, 1 + 16 * 14, 2 + 16 * 13, 3 + 16 * 12]]
    assert scales.tolist() == [1.0] and zeros.tolist() == [0.0]
    assert torch.equal(dequantize("int4", codes, scales, zeros), x)


def test_fp8_codes_mean_what_the_standard_says() -> None:
    codes = torch.tensor([code for code in range(256) if code & 0x7F != 0x7F], dtype=torch.uint8)
    means = []
    for code in codes.tolist():
        sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
        size = mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        means.append(-size if sign else size)
    numbers = dequantize("fp8", codes[:, None], torch.ones(len(codes)))[:, 0]
    assert numbers.tolist() == means and max(means) == 448
    again, scales = quantize(torch.tensor([means]), "fp8")
    assert scales.item() == 1 and torch.equal(again[0], codes)


@FORMATS
def test_new_keys_and_values_land_in_their_slots_and_nowhere_else(kv_dtype: str) -> None:
    kv = stored(torch.randn(2, 4, 3, 5, 8), kv_dtype)
    parts = kv.parts if isinstance(kv, QuantizedKV) else (kv,)
    before = [part.clone() for part in parts]
    k, v = torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    write_kv(k, v, kv, torch.tensor([7, 0, 19]))
    gathered = gather_pages(kv, torch.arange(4)).transpose(1, 2)  # [2, N, Hkv, P, D]
    for row, (page, offset) in enumerate([(1, 2), (0, 0), (3, 4)]):
        for which, x in enumerate((k, v)):
            assert torch.equal(gathered[which, page, :, offset].double(), kept(x[row], kv_dtype))
            for part, old in zip(parts, before, strict=True):
                part[which, page, :, offset] = old[which, page, :, offset]
    assert all(torch.equal(part, old) for part, old in zip(parts, before, strict=True))


@PATHS
@pytest.mark.parametrize("kv_dtype", KV_DTYPES[1:])
def test_every_code_there_is_means_the_same_to_every_path(attention: AttentionFn, kv_dtype: str) -> None:
    """256 contexts of one token each: what attention returns is the token's value, nothing is averaged away."""
    case = a_step([1] * 256, [1] * 256, num_heads=1, num_kv_heads=1, head_dim=256, page_size=1)
    pages = case.batch.page_tables[:, 0].long()
    case.kv[0] = 0.0
    case.kv = stored(case.kv, kv_dtype)
    if isinstance(case.kv, QuantizedKV):
        codes = torch.arange(256 * case.kv.codes.shape[-1]).to(torch.uint8).view(256, -1)
        if kv_dtype == "fp8":
            codes[codes & 0x7F == 0x7F] = 0  # not a number, and never written
        case.kv.codes[1, pages, 0, 0] = codes
        for part in case.kv.parts[1:]:
            part[1, pages, 0, 0] = torch.randn(256)
    else:
        bits = torch.arange(65536).to(torch.int16).view(256, 256)
        case.kv[1, pages, 0, 0] = bits.view(PLAIN[kv_dtype])
    expected = gather_pages(case.kv, pages)[1, 0].float()
    torch.testing.assert_close(case.attend(attention), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


@FORMATS
def test_attention_is_off_by_no_more_than_its_keys_and_values_make_it(kv_dtype: str) -> None:
    """Keys that are off by e at most change a score by s = scale * |q| . e at most. So each weight, once they are made
    to sum to one, is off by a factor between exp(-2 s) and exp(2 s), and all of them together by exp(2 s) - 1."""
    exact = a_step([70, 33], [1, 5], num_heads=6, num_kv_heads=2, head_dim=16, page_size=4)
    exact.kv = exact.kv.nan_to_num(0.0)
    exact.kv[0] /= 16
    off = error_bound(exact.kv, kv_dtype).amax((1, 3)).repeat_interleave(3, dim=1)  # [2, H, D]
    largest = exact.kv[1].abs().amax((0, 2)).repeat_interleave(3, dim=0)  # [H, D]
    score_off = exact.scale * (exact.q.double().abs() * off[0]).sum(-1, keepdim=True)
    bound = off[1] + torch.expm1(2 * score_off) * largest
    attended = Case(exact.q, stored(exact.kv, kv_dtype), exact.batch).attend(cpu_attention)
    assert ((attended - exact.expected()).abs() <= bound + 1e-6).all()
    assert bound.max() < 1  # values reach 3: it says something in every format


@pytest.mark.parametrize(
    ("kv_dtype", "stated"),
    [("float32", 2e-7), ("bfloat16", 3e-3), ("float16", 4e-4), ("int8", 1e-2), ("int4", 0.15), ("fp8", 0.04)],
)
@pytest.mark.parametrize("head_dim", [64, 128])
def test_attention_over_normal_numbers_is_off_by_what_is_stated(kv_dtype: str, stated: float, head_dim: int) -> None:
    exact = a_step([300, 17], [1, 4], num_heads=6, num_kv_heads=2, head_dim=head_dim, page_size=16)
    expected = exact.expected()
    attended = Case(exact.q, stored(exact.kv, kv_dtype), exact.batch).attend(cpu_attention)
    assert (attended - expected).norm() / expected.norm() < stated


@PATHS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@FORMATS
def test_narrow_queries_get_answers_as_narrow(attention: AttentionFn, dtype: torch.dtype, kv_dtype: str) -> None:
    shape = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 64, "page_size": 16}
    case = a_step([33, 20], [1, 7], dtype=dtype, kv_dtype=kv_dtype, **shape)
    attended = case.attend(attention)
    assert attended.dtype == dtype
    assert worst_error(attended, case.expected()) < (2e-2 if dtype == torch.bfloat16 else 3e-3)


@pytest.mark.parametrize(
    ("kv_dtype", "bytes_per_vector"),
    [("float32", 256), ("bfloat16", 128), ("float16", 128), ("int8", 72), ("int4", 40), ("fp8", 68)],
)
def test_a_vector_takes_the_bytes_that_the_table_says(kv_dtype: str, bytes_per_vector: int) -> None:
    parts = kv_parts(kv_dtype, 64)
    assert sum(dtype.itemsize * torch.Size(shape).numel() for shape, dtype in parts) == bytes_per_vector


@pytest.mark.parametrize(
    ("kv_dtype", "head_dim", "message"), [("int2", 64, "float32, .* fp8"), ("int4", 5, "use kv_dtype='int8'")]
)
def test_a_format_that_there_is_not_is_refused(kv_dtype: str, head_dim: int, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        kv_parts(kv_dtype, head_dim)


@pytest.mark.parametrize(
    ("kv_dtype", "change", "message"),
    [
        ("int8", lambda parts: parts[:2], "have zeros"),
        ("fp8", lambda parts: [*parts, parts[1]], "no zeros"),
        ("int8", lambda parts: [parts[0].float(), *parts[1:]], "codes are torch.float32"),
        ("int4", lambda parts: [parts[0], parts[1].half(), parts[2]], "torch.float16"),
        ("int8", lambda parts: [parts[0], parts[1][:, :1], parts[2]], "of shape"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    kv_dtype: str, change: Callable[[list[Tensor]], list[Tensor]], message: str
) -> None:
    kv = stored(torch.randn(2, 3, 1, 4, 8), kv_dtype)
    assert isinstance(kv, QuantizedKV)
    with pytest.raises(ValueError, match=message):
        as_layer(kv_dtype, change(list(kv.parts)))
