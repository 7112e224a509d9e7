"""Sliding windows: what lies behind one is never read, and may have no page any more (behaviours 31 and 39)."""

from __future__ import annotations

import pytest
import torch

from pagedlab.errors import InvalidQuantity
from pagedlab.memory.table import HOLE
from pagedlab_kernels import AttentionFn
from pagedlab_kernels.cpu import native
from pagedlab_kernels.cpu.attention import cpu_attention
from tests.kernels.cases import PATHS, Case, a_step, worst_error


def a_windowed_step(window: int | None, page_size: int = 16) -> Case:
    """Decode rows and chunks of several blocks of rows, whose contexts fit the window, reach past it, or far past."""
    shape = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 16}
    return a_step([1, 16, 90, 200, 33, 150], [1, 1, 1, 1, 33, 70], page_size=page_size, window=window, **shape)


@PATHS
@pytest.mark.parametrize("window", [1, 2, 15, 16, 17, 64, 65, 1000])
@pytest.mark.parametrize("page_size", [1, 16, 256])
def test_a_row_sees_the_last_tokens_and_nothing_behind_them(
    attention: AttentionFn, window: int, page_size: int
) -> None:
    """Behaviours 31 and 39."""
    case = a_windowed_step(window, page_size)
    assert worst_error(case.attend(attention), case.expected()) < 1e-5


@PATHS
def test_a_window_of_one_token_leaves_a_row_its_own_value(attention: AttentionFn) -> None:
    case = a_windowed_step(1)
    (last,) = [page for page in case.batch.page_tables[2].tolist() if page >= 0]
    assert torch.allclose(case.attend(attention)[2].view(2, 3, 16), case.kv[1, last, :, None, 89 % 16])


@PATHS
def test_a_window_as_long_as_the_context_hides_nothing(attention: AttentionFn) -> None:
    case = a_windowed_step(None)
    attended = [attention(case.q, case.kv, case.batch, case.scale, window=window) for window in (None, 200, 10**6)]
    assert torch.equal(attended[0], attended[1]) and torch.equal(attended[0], attended[2])


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_what_a_window_leaves_of_a_long_context_may_be_split_over_threads(num_threads: int) -> None:
    case = a_step([5000, 4000], [1, 3], num_heads=3, num_kv_heads=1, head_dim=64, page_size=16, window=1500)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        assert worst_error(case.attend(cpu_attention), case.expected()) < 1e-5
    finally:
        torch.set_num_threads(before)


def test_a_page_that_is_missing_inside_the_window_is_refused() -> None:
    if native.native_library() is None:
        pytest.skip("there is no C compiler here")
    case = a_step([40], [3], num_heads=2, num_kv_heads=1, head_dim=8, page_size=4, window=10)
    assert case.batch.page_tables[0].tolist()[:8].count(HOLE) == 7  # the first row, at 37, sees 28 and what follows
    cpu_attention(case.q, case.kv, case.batch, case.scale, window=10)
    with pytest.raises(InvalidQuantity, match="names a page"):
        cpu_attention(case.q, case.kv, case.batch, case.scale, window=11)
    with pytest.raises(InvalidQuantity, match="names a page"):
        cpu_attention(case.q, case.kv, case.batch, case.scale)


def test_a_window_that_sees_nothing_is_refused() -> None:
    case = a_step([4], [1], num_heads=1, num_kv_heads=1, head_dim=8, page_size=4)
    with pytest.raises(InvalidQuantity, match="at least itself"):
        cpu_attention(case.q, case.kv, case.batch, case.scale, window=0)
