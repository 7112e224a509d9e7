"""KVCache: the memory that pages are pages of."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from pagedlab.errors import InvalidConfig
from pagedlab.memory.manager import PageCopy
from pagedlab.models.config import ModelConfig


class KVCache:
    """``layers[l]: [2, num_pages, num_kv_heads, page_size, head_dim]``, keys and values of layer l.

    One page of one head is one contiguous tile. Nothing is cleared: what a page held before it was allocated stays
    in it, and no kernel may ever read it.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_pages: int,
        page_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (config.num_layers, 2, num_pages, config.num_kv_heads, page_size, config.head_dim)
        asked = dtype.itemsize * num_pages * page_size * config.kv_values_per_token
        there = psutil.virtual_memory().available if torch.device(device).type == "cpu" else asked
        if asked > there:
            raise InvalidConfig(
                f"num_pages={num_pages} of {page_size} tokens take {asked / 2**30:.1f} GiB; "
                f"{there / 2**30:.1f} GiB of memory are free. Lower num_pages."
            )
        self.storage = torch.empty(shape, dtype=dtype, device=device)
        self.layers = list(self.storage.unbind())

    @property
    def nbytes(self) -> int:
        return self.storage.nbytes

    def copy_pages(self, copies: Sequence[PageCopy]) -> None:
        """Copy whole pages in all layers, one after the other: a later copy sees what an earlier one wrote."""
        for source, target in copies:
            self.storage[:, :, target].copy_(self.storage[:, :, source])
