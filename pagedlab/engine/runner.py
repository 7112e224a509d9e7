"""ModelRunner: turns a StepPlan into tensors, runs the model, returns the logits that are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from operator import sub

import torch
from torch import Tensor

from pagedlab.engine.kv_cache import KVCache
from pagedlab.engine.tables import TableMirror, common_pages
from pagedlab.memory.manager import CacheManager
from pagedlab.models.llama import LlamaModel
from pagedlab.models.lora import LoraAdapter, LoraBatch
from pagedlab.scheduling.plan import StepPlan
from pagedlab_kernels.batch import AttentionFn, PagedBatch


class ModelRunner:
    """Everything it needs of a step is in the plan; everything it needs of memory, in the page tables."""

    def __init__(
        self,
        model: LlamaModel,
        kv: KVCache,
        manager: CacheManager,
        attention: AttentionFn,
        adapters: Mapping[str, LoraAdapter] | None = None,
        *,
        find_common_pages: bool = False,
    ) -> None:
        self.model, self.kv, self.manager, self.attention = model, kv, manager, attention
        self.adapters = adapters or {}
        self._find_common_pages = find_common_pages  # for attention that reads a shared prefix once
        self.device = next(model.parameters()).device
        self._mirror = TableMirror(self.device)

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> Tensor:
        """Logits ``[R, vocab]`` float32: for each of ``plan.samples`` a row, and one more for each of its drafts."""
        self.kv.copy_pages(plan.copies)
        if not plan.chunks:  # pages went to host memory, and nothing else happened
            return torch.empty(0, self.model.config.vocab_size, device=self.device)
        batch = self.batch(plan)
        rows = self._sampled_rows(plan)
        distinct = list(dict.fromkeys(rows))
        wanted = torch.tensor(distinct, dtype=torch.int64, device=self.device)
        logits = self.model(batch, self.kv.layers, self.attention, wanted, self._lora(plan), self.kv.write)
        if len(distinct) == len(rows):
            return logits
        place = {row: number for number, row in enumerate(distinct)}  # forks of one prompt sample from the same row
        return logits[torch.tensor([place[row] for row in rows], device=self.device)]

    def batch(self, plan: StepPlan) -> PagedBatch:
        """The chunks of ``plan`` back to back, as tensors on the cache's device."""
        chunks, size, device = plan.chunks, self.manager.page_size, self.device
        token_ids: list[int] = []
        for chunk in chunks:
            token_ids += chunk.token_ids
        starts, stops = [chunk.start for chunk in chunks], [chunk.stop for chunk in chunks]
        lens = list(map(sub, stops, starts))
        query_start = [0, *accumulate(lens)]
        own = [self.manager.table(chunk.sequence.id) for chunk in chunks]
        tables = self._mirror.batch(own)
        # Of every token, the row of its sequence and its position.
        row, position = torch.arange(len(chunks), device=device), torch.tensor(starts, device=device)
        if len(token_ids) > len(chunks):
            row = row.repeat_interleave(torch.tensor(lens, device=device), output_size=len(token_ids))
            before = torch.tensor(list(map(sub, starts, query_start)), device=device)
            position = torch.arange(len(token_ids), device=device) + before[row]
        return PagedBatch(
            token_ids=torch.tensor(token_ids, device=device),
            positions=position,
            slots=tables[row, position // size].long() * size + position % size,
            query_start=torch.tensor(query_start, dtype=torch.int32, device=device),
            context_lens=torch.tensor(stops, dtype=torch.int32, device=device),
            page_tables=tables,
            page_size=size,
            max_query_len=max(lens),
            max_context_len=max(stops),
            common_pages=common_pages(own) if self._find_common_pages and max(lens) == 1 < len(own) else 0,
        )

    def _lora(self, plan: StepPlan) -> LoraBatch | None:
        if not self.adapters:
            return None
        adapters = [chunk.sequence.request.adapter for chunk in plan.chunks]
        chunks = zip(adapters, plan.chunks, strict=True)
        return LoraBatch.of_chunks(
            ((None if name is None else self.adapters[name], chunk.num_tokens) for name, chunk in chunks), self.device
        )

    def _sampled_rows(self, plan: StepPlan) -> list[int]:
        """Rows of the batch after which tokens are sampled: the last of a chunk, and with drafts those before it."""
        ends = list(accumulate([chunk.stop - chunk.start for chunk in plan.chunks]))
        rows: list[int] = []
        for sample in plan.samples:
            end = ends[sample.chunk]
            rows += range(end - 1 - len(sample.drafts), end)
        return rows
