"""What a layer does row by row, natively, against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.cpu import rows
from pagedlab_kernels.cpu.native import why_not_native
from pagedlab_kernels.kv_format import KV_DTYPES, as_layer, gather_pages, kv_parts, write_kv

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="there is no C compiler")


@pytest.mark.parametrize("dim", [1, 7, 8, 48, 576])
@pytest.mark.parametrize("num_rows", [1, 3, 200])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_norm_divides_by_the_root_of_the_mean_square(dim: int, num_rows: int, offset: float) -> None:
    wide, weight = torch.full((num_rows, dim + 3), torch.nan), torch.randn(dim)
    x = wide[:, :dim].copy_(torch.randn(num_rows, dim))
    expected = F.rms_norm(x.double(), (dim,), weight.double() + offset, 1e-5)
    torch.testing.assert_close(rows.rms_norm(x, weight, 1e-5, offset=offset).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head_dim", [2, 10, 16, 64])
@pytest.mark.parametrize("num_tokens", [1, 5, 300])
def test_queries_are_rotated_and_keys_and_values_reach_their_slots_and_no_other(head_dim: int, num_tokens: int) -> None:
    num_heads, num_kv_heads, page_size, num_pages = 6, 2, 4, 100
    fused = torch.randn(num_tokens, (num_heads + 2 * num_kv_heads) * head_dim)
    sizes = [count * head_dim for count in (num_heads, num_kv_heads, num_kv_heads)]
    q, k, v = (part.unflatten(-1, (-1, head_dim)) for part in fused.split(sizes, -1))
    angles = torch.randn(num_tokens, 1, head_dim // 2)
    cos, sin = angles.cos(), angles.sin()
    slots = torch.randperm(num_pages * page_size)[:num_tokens]
    kv = torch.full((2, num_pages, num_kv_heads, page_size, head_dim), torch.nan)
    expected = kv.clone()

    def turned(x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    write_kv(turned(k), v, expected, slots)
    rotated = rows.rotate_and_write(q, k, v, cos, sin, kv, slots)
    torch.testing.assert_close(rotated, turned(q), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kv, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("head_dim", [2, 10, 64])
def test_every_format_is_written_bit_for_bit_as_torch_writes_it(kv_dtype: str, head_dim: int) -> None:
    x = torch.randn(400, 3, head_dim) * torch.randn(400, 3, 1).mul(6).exp()  # from very small to very large
    x[0], x[1, 0], x[2, 0] = 0, x[1, 0, 0].item(), -x[2, 0].abs()
    x[3:6] = torch.linspace(-1, 1, 9 * head_dim).view(3, 3, head_dim).mul(6e-8)  # no leading 1 in float16
    x[6:9] = torch.linspace(-65600, 65600, 9 * head_dim).view(3, 3, head_dim)  # beyond float16
    x[9:12] = torch.arange(9 * head_dim).view(3, 3, head_dim) + 2048.0  # halfway between two float16 numbers
    k, v = x, x.flip(0)
    kv, expected = (
        [torch.zeros(2, 50, 3, 8, *shape, dtype=dtype) for shape, dtype in kv_parts(kv_dtype, head_dim)]
        for _ in range(2)
    )
    slots, still = torch.arange(400).flip(0), torch.zeros(400, 1, head_dim // 2)
    write_kv(k, v, as_layer(kv_dtype, expected), slots)
    rows.rotate_and_write(torch.zeros(400, 1, head_dim), k, v, still.cos(), still, as_layer(kv_dtype, kv), slots)
    for part, other in zip(kv, expected, strict=True):
        assert torch.equal(part, other)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_vector_that_holds_no_number_is_not_read_back_as_numbers(kv_dtype: str, wrong: float) -> None:
    k = torch.ones(1, 2, 8)
    k[0, 1, 5] = wrong
    layer = as_layer(kv_dtype, [torch.zeros(2, 1, 2, 4, *shape, dtype=dtype) for shape, dtype in kv_parts(kv_dtype, 8)])
    still = torch.zeros(1, 1, 4)
    rows.rotate_and_write(torch.zeros(1, 1, 8), k, k, still.cos(), still, layer, torch.tensor([2]))
    kept = gather_pages(layer, torch.tensor([0]))[:, :, 0, 2]
    assert not kept[:, 1, 5].isfinite().any() and torch.equal(kept[:, 0], torch.ones(2, 8))


@pytest.mark.parametrize("slot", [-1, 12])
def test_a_slot_outside_the_pool_is_refused_and_nothing_is_written(slot: int) -> None:
    kv, x, angles = torch.zeros(2, 3, 1, 4, 8), torch.randn(2, 1, 8), torch.zeros(2, 1, 4)
    with pytest.raises(InvalidQuantity, match=f"{slot}.*the pool has slots 0 to 11"):
        rows.rotate_and_write(x, x, x, angles, angles, kv, torch.tensor([3, slot]))
    assert not kv.any()


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dim", [1, 8, 50])
def test_a_gate_lets_through_what_its_activation_says(gelu: bool, dim: int) -> None:
    fused = torch.cat((torch.randn(40, dim) * 20, torch.randn(40, dim)), -1)
    fused[0, 0], fused[1, 0], fused[2, 0] = 1e4, -1e4, 0
    gate, up = fused.split(dim, -1)
    activated = F.gelu(gate.double(), approximate="tanh") if gelu else F.silu(gate.double())
    torch.testing.assert_close(rows.gated(gate, up, gelu=gelu).double(), activated * up, rtol=1e-5, atol=1e-6)


def test_what_is_not_a_number_stays_none() -> None:
    gate = torch.full((1, 9), torch.nan)
    assert rows.gated(gate, torch.ones(1, 9), gelu=False).isnan().all()
    assert rows.rms_norm(gate, torch.ones(9), 1e-5).isnan().all()


def test_other_types_and_places_are_for_torch() -> None:
    assert not rows.runs_natively(torch.ones(2, dtype=torch.bfloat16))
    assert not rows.runs_natively(torch.ones(4, 4).T)
    assert not rows.runs_natively(torch.ones(2, device="meta"))
