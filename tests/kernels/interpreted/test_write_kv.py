"""The Triton kernel that writes keys and values, interpreted: the bits of kv_format.write_kv, and no others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pagedlab_kernels import kv_format
from pagedlab_kernels.kv_format import KV_DTYPES, LayerKV, QuantizedKV, as_layer, dequantize, kv_parts
from pagedlab_kernels.write_kv import write_kv

FORMATS = pytest.mark.parametrize("kv_dtype", KV_DTYPES)
QUANTIZED = pytest.mark.parametrize("kv_dtype", ["int8", "int4", "fp8"])
#: What no write leaves: a NaN in every format that has one.
POISON = 0xFF

# Infinity less infinity, NaN as a number: what is not finite works out.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def poisoned(kv_dtype: str, num_pages: int, num_kv_heads: int, page_size: int, head_dim: int) -> LayerKV:
    vectors = (2, num_pages, num_kv_heads, page_size)
    parts = [torch.empty(*vectors, *shape, dtype=dtype) for shape, dtype in kv_parts(kv_dtype, head_dim)]
    for part in parts:
        part.view(torch.uint8).fill_(POISON)
    return as_layer(kv_dtype, parts)


def bits(kv: LayerKV) -> list[Tensor]:
    """Floating-point numbers as integers: a poisoned slot equals nothing but a poisoned slot."""
    integers = {2: torch.int16, 4: torch.int32}
    parts = kv.parts if isinstance(kv, QuantizedKV) else (kv,)
    return [part.view(integers[part.itemsize]) if part.is_floating_point() else part for part in parts]


def both_write(k: Tensor, v: Tensor, slots: Tensor, kv_dtype: str, num_pages: int, page_size: int) -> list[LayerKV]:
    """What torch leaves of poisoned pages, and what the kernel does."""
    layers = [poisoned(kv_dtype, num_pages, k.shape[1], page_size, k.shape[2]) for _ in range(2)]
    for write, layer in zip((kv_format.write_kv, write_kv), layers, strict=True):
        write(k, v, layer, slots)
    return layers


def assert_same_bits(layers: list[LayerKV]) -> None:
    for expected, written in zip(*map(bits, layers), strict=True):
        assert torch.equal(written, expected)


@FORMATS
@pytest.mark.parametrize("page_size", [1, 5, 16, 256])
@pytest.mark.parametrize(("num_kv_heads", "head_dim"), [(3, 64), (1, 80), (2, 96), (8, 128), (1, 256)])
def test_scattered_slots_get_the_bits_that_torch_writes_and_all_others_stay_poisoned(
    kv_dtype: str, page_size: int, num_kv_heads: int, head_dim: int
) -> None:
    tokens, num_pages = 7, 2 + 20 // page_size
    slots = torch.randperm(num_pages * page_size)[:tokens]
    fused = torch.randn(tokens, 3, num_kv_heads, head_dim)  # tokens lie further apart than they are long
    assert_same_bits(both_write(fused[:, 1], fused[:, 2], slots, kv_dtype, num_pages, page_size))


@FORMATS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_keys_and_values_are_kept_as_torch_keeps_them(kv_dtype: str, dtype: torch.dtype) -> None:
    k, v = torch.randn(2, 5, 3, 64).mul(1000).to(dtype)
    assert_same_bits(both_write(k, v, torch.tensor([9, 2, 0, 31, 17]), kv_dtype, 2, 16))


@FORMATS
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_the_numbers_are_their_codes_are_those_of_torch(kv_dtype: str, data: st.DataObject) -> None:
    """Constant vectors, halves between two codes, numbers next to nothing and next to infinity."""
    largest = data.draw(st.sampled_from([2.0**-149 * 600, 1e-38, 1e-3, 1.0, 448.0, 1e5, 1.7e38]), "largest")
    step = data.draw(st.sampled_from([1 / 2**24, 1 / 510, 1 / 30, 1 / 448, 1 / 2]), "step")
    offset = data.draw(st.sampled_from([-1.0, 0.0, 0.5]), "offset")
    steps = data.draw(
        st.lists(st.integers(0, 4), min_size=8, max_size=8)
        | st.lists(st.integers(0, round(1 / step)), min_size=8, max_size=8),
        "steps",
    )
    k = (largest * (offset + step * torch.tensor(steps, dtype=torch.float64))).float().view(1, 1, 8)
    assert_same_bits(both_write(k, -k, torch.tensor([1]), kv_dtype, 2, 2))


def test_every_code_of_fp8_is_rounded_to_as_torch_does() -> None:
    """Numbers on, half-way between and next to half-way between two codes."""
    codes = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    half_way = (codes[1:] + codes[:-1]) / 2
    near = [half_way.nextafter(torch.tensor(towards)) for towards in (0.0, 448.0)]
    numbers = torch.cat((codes, half_way, *near))
    k = torch.cat((numbers, -numbers, torch.tensor([448.0] * 6))).view(1, 2, -1)  # 448 in each half: the scale is 1
    assert_same_bits(both_write(k, -k, torch.tensor([1]), "fp8", 2, 1))


@QUANTIZED
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_spoils_its_own_vector_and_no_other(kv_dtype: str, number: float) -> None:
    k = torch.randn(3, 2, 64)
    k[1, 0, 40] = number
    layer = poisoned(kv_dtype, 3, 2, 1, 64)
    write_kv(k, k.flip(0), layer, torch.tensor([2, 0, 1]))
    assert isinstance(layer, QuantizedKV)
    back = dequantize(kv_dtype, *layer.parts)[:, :, :, 0]  # [2, N, Hkv, D]
    assert back[:, 0, 0].isnan().all() and back.isnan().sum() == 2 * 64


@FORMATS
def test_a_slot_outside_of_the_pool_is_not_written(kv_dtype: str) -> None:
    num_pages, page_size = 4, 3
    around = poisoned(kv_dtype, 3 * num_pages, 2, page_size, 64)
    parts = around.parts if isinstance(around, QuantizedKV) else (around,)
    # A pool in the middle of memory that is somebody else's.
    pool = [part.view(-1)[part.numel() // 3 : 2 * part.numel() // 3] for part in parts]
    inner = [mid.view(2, num_pages, *part.shape[2:]) for mid, part in zip(pool, parts, strict=True)]
    layer = as_layer(kv_dtype, inner)
    before = [part.clone() for part in bits(around)]
    outside = torch.tensor([-1, -3, -13, num_pages * page_size, num_pages * page_size + 5, 2**40])
    k, v = torch.randn(2, len(outside) + 1, 2, 64)
    write_kv(k[1:], v[1:], layer, outside)
    assert all(torch.equal(now, then) for now, then in zip(bits(around), before, strict=True))
    write_kv(k, v, layer, torch.cat((torch.tensor([7]), outside)))
    expected = poisoned(kv_dtype, num_pages, 2, page_size, 64)
    kv_format.write_kv(k[:1], v[:1], expected, torch.tensor([7]))
    assert_same_bits([expected, layer])


def test_keys_whose_heads_lie_apart_are_written_too() -> None:
    k, v = torch.randn(2, 3, 5, 64).transpose(1, 2)
    assert_same_bits(both_write(k, v, torch.tensor([3, 1, 0, 7, 4]), "int8", 2, 4))


def test_nothing_new_writes_nothing() -> None:
    nothing = torch.empty(0, 3, 64)
    assert_same_bits(both_write(nothing, nothing, torch.empty(0, dtype=torch.int64), "int8", 2, 4))


@pytest.mark.parametrize(
    ("k", "v", "slots", "message"),
    [
        ((2, 3, 64), (1, 3, 64), 2, "of one type"),
        ((2, 1, 64), (2, 1, 64), 2, "of one type"),
        ((2, 3, 32), (2, 3, 32), 2, "of one type"),
        ((2, 3, 64), (2, 3, 64), 1, "2 tokens have slots of shape"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(
    k: tuple[int, ...], v: tuple[int, ...], slots: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_kv(torch.zeros(k), torch.zeros(v), torch.zeros(2, 4, 3, 16, 64), torch.arange(slots))
