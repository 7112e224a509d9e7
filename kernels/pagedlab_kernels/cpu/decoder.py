"""A whole decoder in one call (``decoder.c``), for models without experts, whose tensors are float32."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.attention import in_words
from pagedlab_kernels.cpu.linear import as_matrix, in_features
from pagedlab_kernels.cpu.native import Decoder, Layer, Step, native_library
from pagedlab_kernels.cpu.rows import bad_slots
from pagedlab_kernels.cpu.store import as_store
from pagedlab_kernels.kv_format import LayerKV

_BAD_SLOT, _BAD_ROW = 5, 6  #: of the C enum


class Panels(NamedTuple):
    """A matrix that ``linear.pack`` packed."""

    weight: Tensor
    scales: Tensor | None
    bias: Tensor | None


class Norms(NamedTuple):
    """Weights, float32; None where there is no such norm."""

    attention_input: Tensor  #: [hidden], of what attention reads
    mlp_input: Tensor  #: [hidden], of what the feed-forward reads
    attention_output: Tensor | None  #: [hidden], of what they return
    mlp_output: Tensor | None
    q: Tensor | None  #: [D], of heads
    k: Tensor | None


@dataclass(frozen=True)
class LayerTensors:
    qkv: Panels
    output: Panels
    gate_and_up: Panels
    down: Panels
    norms: Norms
    kv: LayerKV  #: [2, N, Hkv, P, D]
    window: int | None
    local: bool  #: whether positions are turned by the local angles


class NativeDecoder:
    """Keeps the weights that it computes with alive, but not the cache: its owner must, from call to call."""

    def __init__(
        self,
        layers: Sequence[LayerTensors],
        *,
        num_heads: int,
        gelu: bool,
        eps: float,
        norm_offset: float,
        scale: float,
    ) -> None:
        self._weights = [(x.qkv, x.output, x.gate_and_up, x.down, x.norms) for x in layers]
        first = layers[0]
        _, self.num_pages, num_kv_heads, self.page_size, head_dim = first.kv.shape
        self.hidden, self.width = in_features(first.qkv.weight), in_features(first.down.weight)
        attended = num_heads * head_dim
        #: floats that a row needs on its way through a layer
        self._room = self.hidden + 3 * attended + 2 * num_kv_heads * head_dim + 3 * self.width
        matrices = [[as_matrix(*one) for one in (x.qkv, x.output, x.gate_and_up, x.down)] for x in layers]
        self._layers = (Layer * len(layers))(
            *(
                Layer(*four, *map(_address, x.norms), as_store(x.kv), x.window or 0, x.local)
                for four, x in zip(matrices, layers, strict=True)
            )
        )
        self._decoder = Decoder(
            self._layers, len(layers), self.hidden, self.width, num_heads, num_kv_heads, head_dim, gelu, eps,
            norm_offset, scale,
        )  # fmt: skip

    def __call__(
        self,
        hidden: Tensor,
        angles: tuple[Tensor, Tensor],
        local: tuple[Tensor, Tensor],
        batch: PagedBatch,
        wanted: Tensor,
    ) -> Tensor:
        """``hidden: [T, hidden]`` float32, what enters the first layer -> ``[S, hidden]``, what leaves the last of the
        rows ``wanted: [S] int64``.

        ``angles`` and ``local``: cos and sin, each ``[T, 1, D / 2]`` float32. Raises InvalidQuantity for a slot or a
        page that is not in the pool, IndexError for a row that is not in the step, and what ``cpu_attention`` raises.
        """
        batch.check_indices(hidden.device)
        library = native_library()
        assert library is not None, "it has packed the weights"
        hidden, wanted = hidden.clone(memory_format=torch.contiguous_format), wanted.contiguous()
        out = torch.empty(len(wanted), self.hidden)
        scratch = torch.empty(batch.num_tokens * self._room)
        tables = batch.page_tables if batch.page_tables.stride(1) == 1 else batch.page_tables.contiguous()
        query_start, context_lens = batch.query_start.contiguous(), batch.context_lens.contiguous()
        step = Step(
            hidden.data_ptr(),
            out.data_ptr(),
            scratch.data_ptr(),
            (angles[0].data_ptr(), local[0].data_ptr()),
            (angles[1].data_ptr(), local[1].data_ptr()),
            batch.slots.data_ptr(),
            wanted.data_ptr(),
            tables.data_ptr(),
            query_start.data_ptr(),
            context_lens.data_ptr(),
            tables.stride(0),
            tables.shape[1],
            batch.max_context_len,
            batch.num_tokens,
            len(wanted),
            batch.num_sequences,
            self.page_size,
            self.num_pages,
        )
        fault = library.decoder(ctypes.byref(self._decoder), ctypes.byref(step), torch.get_num_threads())
        if fault == _BAD_SLOT:
            raise bad_slots(batch.slots, self.num_pages * self.page_size)
        if fault == _BAD_ROW:
            raise IndexError(f"rows {wanted.tolist()} are wanted of a step of {batch.num_tokens}")
        if fault:
            raise in_words(fault, batch, self.num_pages)
        return out


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
