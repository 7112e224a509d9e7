"""What a layer does row by row, natively, against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.cpu import rows
from pagedlab_kernels.cpu.native import why_not_native
from pagedlab_kernels.kv_format import write_kv

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
