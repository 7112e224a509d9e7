"""Memory that is asked for in huge pages is memory like any other."""

from __future__ import annotations

import pytest
import torch

from pagedlab_kernels.cpu.huge_pages import HUGE_PAGE, Region, prefer_huge_pages


def test_a_region_holds_its_tensors_one_behind_the_other_and_begins_with_a_page() -> None:
    tensors = [torch.randn(3, 5), torch.arange(7, dtype=torch.int8), torch.randn(HUGE_PAGE // 4 + 1).bfloat16()]
    region = Region(tensor.nbytes for tensor in tensors)
    copies = [region.copy(tensor) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        assert torch.equal(copy, tensor) and copy.dtype == tensor.dtype
    begin = copies[0].data_ptr()
    assert begin % HUGE_PAGE == 0
    assert [copy.data_ptr() - begin for copy in copies] == [0, 64, 128]


def test_a_region_has_room_for_no_more_than_it_was_told() -> None:
    region = Region([64])
    region.copy(torch.zeros(64, dtype=torch.uint8))
    with pytest.raises(RuntimeError):
        region.copy(torch.zeros(1, dtype=torch.uint8))


@pytest.mark.parametrize("num_bytes", [0, 1, HUGE_PAGE, 5 * HUGE_PAGE + 3])
def test_advice_changes_no_number(num_bytes: int) -> None:
    memory = torch.full((num_bytes,), 7, dtype=torch.uint8)
    prefer_huge_pages(memory)
    assert memory.eq(7).all()
