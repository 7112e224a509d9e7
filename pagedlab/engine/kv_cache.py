"""KVCache: the memory that pages are pages of, on the device and in the host's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import psutil
import torch
from torch import Tensor

from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.memory.copies import PageCopy
from pagedlab.models.config import ModelConfig
from pagedlab_kernels.cpu.huge_pages import prefer_huge_pages
from pagedlab_kernels.kv_format import LayerKV, WriteFn, as_layer, kv_parts, write_kv


class KVCache:
    """``layers[l]: [2, num_pages, num_kv_heads, page_size, head_dim]``, keys and values of layer l.

    One page of one head is one contiguous tile. Nothing is cleared: what a page held before it was allocated stays
    in it, and no kernel may ever read it.

    Pages from ``num_pages`` on lie in host memory, where nothing attends to them: they are copied there and back. Each
    is contiguous, and pinned if the device is a GPU, which then reads and writes it over the bus by itself.

    ``triton``: tokens are written (by ``write``) and pages copied by Triton's kernels, in place of torch's operations.

    Raises InvalidConfig for a ``kv_dtype`` that there is not, and where host memory cannot hold
    what is asked of it: on a GPU, torch says so of its own.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_pages: int,
        page_size: int,
        kv_dtype: str = "float32",
        device: torch.device | str = "cpu",
        num_host_pages: int = 0,
        triton: bool = False,
    ) -> None:
        device = torch.device(device)
        parts = kv_parts(kv_dtype, config.head_dim)
        vectors = (config.num_kv_heads, page_size)
        vectors_per_page = config.num_layers * 2 * config.num_kv_heads * page_size
        vector_bytes = sum(dtype.itemsize * torch.Size(shape).numel() for shape, dtype in parts)
        self.kv_dtype, self.num_pages, self.num_host_pages = kv_dtype, num_pages, num_host_pages
        self.bytes_per_page = vectors_per_page * vector_bytes  #: in all layers
        self._refuse_what_does_not_fit(page_size, device)

        self.write: WriteFn = write_kv
        self._triton = triton
        if triton:  # imported only where it is used: not every machine has it
            from pagedlab_kernels.write_kv import write_kv as write_kv_in_triton

            self.write = write_kv_in_triton

        self._device_parts = [
            torch.empty(config.num_layers, 2, num_pages, *vectors, *shape, dtype=dtype, device=device)
            for shape, dtype in parts
        ]
        for part in self._device_parts:
            prefer_huge_pages(part)
        self._host_parts = [
            torch.empty(
                num_host_pages, config.num_layers, 2, *vectors, *shape, dtype=dtype, pin_memory=device.type == "cuda"
            )
            for shape, dtype in parts
        ]
        self.layers: list[LayerKV] = [
            as_layer(kv_dtype, [part[layer] for part in self._device_parts]) for layer in range(config.num_layers)
        ]

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.num_pages * self.bytes_per_page

    @property
    def host_nbytes(self) -> int:
        return self.num_host_pages * self.bytes_per_page

    def copy_pages(self, copies: Sequence[PageCopy]) -> None:
        """Copy whole pages in all layers, one after the other: a later copy sees what an earlier one wrote.

        Bits are copied, scales and zeros with them: what comes back from host memory is what went there.
        """
        there_are = self.num_pages + self.num_host_pages
        for number in chain.from_iterable(copies):
            if not 0 <= number < there_are:
                raise InvalidQuantity(
                    f"page {number} was to be copied; there are pages 0 to {there_are - 1}, "
                    f"those from {self.num_pages} on in host memory"
                )
        if copies and self._triton:
            from pagedlab_kernels.copy_pages import copy_pages

            copy_pages(copies, self._device_parts, self._host_parts)
            return
        for source, target in copies:
            for there, here in zip(self._page(source), self._page(target), strict=True):
                here.copy_(there)

    def _page(self, number: int) -> list[Tensor]:
        """``[num_layers, 2, num_kv_heads, page_size, ...]`` of each part: the memory itself."""
        if number < self.num_pages:
            return [part[:, :, number] for part in self._device_parts]
        return [part[number - self.num_pages] for part in self._host_parts]

    def _refuse_what_does_not_fit(self, page_size: int, device: torch.device) -> None:
        asked = self.host_nbytes + (self.nbytes if device.type == "cpu" else 0)
        there = psutil.virtual_memory().available
        if asked > there:
            host = f" and num_host_pages={self.num_host_pages}" if self.num_host_pages else ""
            raise InvalidConfig(
                f"num_pages={self.num_pages}{host} of {page_size} tokens in {self.kv_dtype} take "
                f"{asked / 2**30:.1f} GiB; {there / 2**30:.1f} GiB of memory are free. Ask for fewer pages, or for a "
                "kv_dtype of fewer bits."
            )
