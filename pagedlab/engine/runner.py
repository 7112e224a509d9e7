"""ModelRunner: turns a StepPlan into tensors, runs the model, returns the logits that are wanted."""

from __future__ import annotations

import torch
from torch import Tensor

from pagedlab.engine.kv_cache import KVCache
from pagedlab.engine.tables import TableMirror
from pagedlab.memory.manager import CacheManager
from pagedlab.models.llama import LlamaModel
from pagedlab.scheduling.plan import StepPlan
from pagedlab_kernels.batch import AttentionFn, PagedBatch


class ModelRunner:
    """Everything it needs of a step is in the plan; everything it needs of memory, in the page tables."""

    def __init__(self, model: LlamaModel, kv: KVCache, manager: CacheManager, attention: AttentionFn) -> None:
        self.model, self.kv, self.manager, self.attention = model, kv, manager, attention
        self._mirror = TableMirror()

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> Tensor:
        """Logits ``[S, vocab]`` float32, a row for each of ``plan.samples``."""
        self.kv.copy_pages(plan.copies)
        batch = self.batch(plan)
        device = self.kv.storage.device
        last_rows = batch.query_start[1:].long() - 1
        wanted = torch.tensor([row.chunk for row in plan.samples], dtype=torch.int64, device=device)
        # Forks of one prompt sample from the same row: the model computes it once.
        chunks, back = wanted.unique(return_inverse=True)
        return self.model(batch, self.kv.layers, self.attention, last_rows[chunks])[back]

    def batch(self, plan: StepPlan) -> PagedBatch:
        """The chunks of ``plan`` back to back, as tensors on the cache's device."""
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        query_start = [0]
        for chunk in plan.chunks:
            token_ids += chunk.sequence.token_ids[chunk.start : chunk.stop]
            positions += range(chunk.start, chunk.stop)
            slots += self.manager.table(chunk.sequence.id).slots(chunk.start, chunk.stop)
            query_start.append(len(token_ids))
        tables = {chunk.sequence.id: self.manager.table(chunk.sequence.id) for chunk in plan.chunks}
        device = self.kv.storage.device
        return PagedBatch(
            token_ids=torch.tensor(token_ids, dtype=torch.int64, device=device),
            positions=torch.tensor(positions, dtype=torch.int64, device=device),
            slots=torch.tensor(slots, dtype=torch.int64, device=device),
            query_start=torch.tensor(query_start, dtype=torch.int32, device=device),
            context_lens=torch.tensor([chunk.stop for chunk in plan.chunks], dtype=torch.int32, device=device),
            page_tables=self._mirror.batch(tables).to(device),
            page_size=self.manager.page_size,
            max_query_len=max(chunk.num_tokens for chunk in plan.chunks),
            max_context_len=max(chunk.stop for chunk in plan.chunks),
        )
