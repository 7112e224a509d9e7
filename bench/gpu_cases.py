"""Steps of attention for the GPU suite: the same keys and values on scattered pages and contiguous."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.kv_format import PLAIN, LayerKV, QuantizedKV, as_layer, quantize


@dataclass(frozen=True)
class Heads:
    model: str
    query: int
    kv: int
    dim: int


HEADS = (Heads("Llama-3-8B", 32, 8, 128), Heads("Qwen3-0.6B", 16, 8, 128), Heads("SmolLM2-135M", 9, 3, 64))


@dataclass(frozen=True)
class Shape:
    """``rows`` new tokens of each of ``batch`` sequences, the last of ``context`` tokens. One row: decode."""

    heads: Heads
    batch: int
    context: int
    rows: int = 1
    page_size: int = 16
    kv_dtype: str = "bfloat16"

    def __str__(self) -> str:
        kind = "decode" if self.rows == 1 else f"chunk of {self.rows}"
        size = f"{self.batch} × {self.context:,}"
        return f"{self.heads.model}, {kind}, {size}, page {self.page_size}, {self.kv_dtype}"

    @property
    def kv_bytes(self) -> int:
        """Of keys and values, the least that must be read. Without scales and zeros."""
        bits = {"float32": 32, "int8": 8, "fp8": 8, "int4": 4}.get(self.kv_dtype, 16)
        return 2 * self.batch * self.context * self.heads.kv * self.heads.dim * bits // 8

    @property
    def num_bytes(self) -> int:
        """What a case of this shape holds: pages, the same contiguous, and two layouts of peers."""
        wide = 2 * self.batch * self.context * self.heads.kv * self.heads.dim * 2
        return self.kv_bytes + 3 * wide


@dataclass(frozen=True)
class Case:
    shape: Shape
    q: Tensor  #: [B * rows, H, D] bfloat16, or float32 on a CPU
    kv: LayerKV  #: [2, N, Hkv, P, D]
    batch: PagedBatch
    contiguous: Tensor  #: [2, B, Hkv, L, D], in the type of q

    @property
    def scale(self) -> float:
        return float(self.shape.heads.dim) ** -0.5

    def dense_q(self) -> Tensor:
        """[B, H, rows, D]"""
        return self.q.unflatten(0, (self.shape.batch, self.shape.rows)).transpose(1, 2).contiguous()

    def error(self, attended: Tensor) -> float:
        """The largest by which the first sequence's rows differ from float64."""
        shape, heads = self.shape, self.shape.heads
        keys, values = self.contiguous[:, 0].double().repeat_interleave(heads.query // heads.kv, dim=1)
        queries = self.q[: shape.rows].double().transpose(0, 1)
        scores = queries @ keys.transpose(1, 2) * self.scale
        seen = torch.ones(shape.rows, shape.context, dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(~seen.tril(shape.context - shape.rows), float("-inf"))
        expected = (scores.softmax(2) @ values).transpose(0, 1)
        return float((attended[: shape.rows].double() - expected).abs().max())


def a_case(shape: Shape, device: str, seed: int = 0) -> Case:
    """Numbers are bfloat16, on a CPU float32; of quantised pages the contiguous copy holds what was quantised."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    draw, heads = torch.Generator(device).manual_seed(seed), shape.heads
    pages = shape.context // shape.page_size
    size = (2, shape.batch, heads.kv, shape.context, heads.dim)
    contiguous = torch.randn(size, generator=draw, device=device, dtype=dtype)
    tables = torch.randperm(shape.batch * pages, generator=draw, device=device).view(shape.batch, pages)
    tokens = shape.batch * shape.rows
    unused = torch.zeros(tokens, dtype=torch.int64, device=device)
    batch = PagedBatch(
        token_ids=unused,
        positions=unused,
        slots=unused,
        query_start=torch.arange(0, tokens + 1, shape.rows, dtype=torch.int32, device=device),
        context_lens=torch.full((shape.batch,), shape.context, dtype=torch.int32, device=device),
        page_tables=tables.int(),
        page_size=shape.page_size,
        max_query_len=shape.rows,
        max_context_len=shape.context,
    )
    q = torch.randn(tokens, heads.query, heads.dim, generator=draw, device=device, dtype=dtype)
    return Case(shape, q, _on_pages(contiguous, tables, shape), batch, contiguous)


def _on_pages(contiguous: Tensor, tables: Tensor, shape: Shape) -> LayerKV:
    tiles = contiguous.unflatten(3, (-1, shape.page_size)).transpose(2, 3)  # [2, B, pages, Hkv, P, D]
    parts = [tiles] if shape.kv_dtype in PLAIN else quantize(tiles, shape.kv_dtype)
    scattered = []
    for part in parts:
        memory = part.new_empty(2, tables.numel(), *part.shape[3:])
        memory[:, tables] = part
        scattered.append(memory)
    return scattered[0] if shape.kv_dtype in PLAIN else as_layer(shape.kv_dtype, scattered)


def is_quantised(case: Case) -> bool:
    return isinstance(case.kv, QuantizedKV)
