"""vLLM's own scheduler and KV cache manager, without a model. Runs where vLLM is installed (see driver.py).

Everything that decides is vLLM's: Scheduler, KVCacheManager, BlockPool, Request, its block hashes and its configuration
classes. Stand-ins are the model's description (eight facts that the scheduler reads), the manager of grammars (no
request has one) and the model itself, whose tokens are given with the request. One group of full-attention layers;
steps are not overlapped (``async_scheduling=False``).
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from driver import END, content, serve

MAX_CONTEXT = 4096


def load() -> tuple[str, object]:
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    import vllm
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import init_none_hash

    init_none_hash(sha256)
    return vllm.__version__, ControlPlane()


class ControlPlane:
    def start(
        self,
        page_size: int,
        num_pages: int,
        budget: int,
        max_sequences: int,
        policy: str,
        caching: bool,
        **options: Any,
    ) -> None:
        """A new scheduler and an empty pool. ``options`` are further ones of vLLM's SchedulerConfig."""
        import torch
        from vllm.config import CacheConfig, KVEventsConfig, SchedulerConfig, VllmConfig
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher
        from vllm.v1.core.sched.scheduler import Scheduler
        from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec

        cache = CacheConfig(block_size=page_size, enable_prefix_caching=caching)
        cache.num_gpu_blocks = num_pages + 1  # one block is vLLM's own
        config = VllmConfig(
            scheduler_config=SchedulerConfig(
                max_num_batched_tokens=budget,
                max_num_seqs=max_sequences,
                max_model_len=MAX_CONTEXT,
                is_encoder_decoder=False,
                policy=policy,
                async_scheduling=False,
                **options,
            ),
            cache_config=cache,
            kv_events_config=KVEventsConfig(enable_kv_cache_events=True, publisher="null"),
        )
        config.model_config = SimpleNamespace(
            max_model_len=MAX_CONTEXT,
            runner_type="generate",
            uses_mrope=False,
            is_encoder_decoder=False,
            is_diffusion=False,
            supports_multimodal_inputs=False,
            return_sampling_mask=False,
            multimodal_config=None,
        )
        layers = FullAttentionSpec(block_size=page_size, num_kv_heads=1, head_size=8, dtype=torch.float32)
        self.scheduler = Scheduler(
            config,
            KVCacheConfig(num_pages + 1, [], [KVCacheGroupSpec(["layer"], layers)]),
            SimpleNamespace(accept_tokens=lambda request, tokens: True),
            page_size,
        )
        self.manager = self.scheduler.kv_cache_manager
        self.page_size = page_size
        self.hasher = get_request_block_hasher(page_size, sha256)
        self.requests: dict[str, Any] = {}
        self.says: dict[str, list[int]] = {}
        self.contents: dict[bytes, str] = {}
        self.arrived = 0

    # The scheduler

    def add(
        self, name: str, prompt: list[int], says: list[int], salt: str | None = None, priority: int = 0
    ) -> dict[str, Any]:
        """A request that will say ``says``, or less if END is among it."""
        self.says[name] = says
        self.scheduler.add_request(self._request(name, prompt, len(says), salt, priority))
        return self._lines()

    def step(self) -> dict[str, Any]:
        from vllm.v1.outputs import ModelRunnerOutput

        before = {request.request_id for request in self.scheduler.running}
        output = self.scheduler.schedule()
        chunks, sampled = [], []
        for name, num_tokens in output.num_scheduled_tokens.items():
            request = self.requests[name]
            stop = request.num_computed_tokens  # schedule() has moved it on
            chunks.append([name, stop - num_tokens, stop])
            sampled.append([self.says[name][request.num_output_tokens]] if stop == request.num_tokens else [])
        scheduled = {
            "chunks": chunks,
            "admitted": [request.request_id for request in self.scheduler.running if request.request_id not in before],
            "preempted": sorted(output.preempted_req_ids or ()),
            "memory": self._memory(),
            **self._lines(),
        }
        names = [name for name, *_ in chunks]
        self.scheduler.update_from_output(
            output, ModelRunnerOutput(names, {name: at for at, name in enumerate(names)}, sampled)
        )
        finished = [[name, str(self.requests[name].get_finished_reason())] for name in names if self._is_finished(name)]
        return {**scheduled, "finished": finished, "after": {"memory": self._memory(), **self._lines()}}

    def abort(self, name: str) -> dict[str, Any]:
        from vllm.v1.request import RequestStatus

        self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)
        return {"memory": self._memory(), **self._lines()}

    # The cache manager alone, driven as the scheduler does it

    def admit(self, name: str, tokens: list[int], budget: int, salt: str | None) -> dict[str, Any]:
        """Look up, then take pages for what was hit and for ``budget`` tokens after it."""
        request = self._request(name, tokens, 1, salt)
        blocks, hit, _ = self.manager.get_computed_blocks(request)
        num_new = min(len(tokens) - hit, budget)
        if self.manager.allocate_slots(request, num_new, hit, blocks) is None:
            del self.requests[name]
            return {"hit": None, "memory": self._memory()}
        request.num_computed_tokens = hit + num_new
        return {"hit": hit, "memory": self._memory()}

    def extend(self, name: str, tokens: list[int], budget: int) -> dict[str, Any]:
        """Append ``tokens``, then take pages for ``budget`` of those that it lacks."""
        request = self.requests[name]
        request.append_output_token_ids(tokens)
        num_new = min(request.num_tokens - request.num_computed_tokens, budget)
        done = num_new == 0 or self.manager.allocate_slots(request, num_new) is not None
        request.num_computed_tokens += num_new if done else 0
        return {"done": done, "memory": self._memory()}

    def release(self, name: str) -> dict[str, Any]:
        self.manager.free(self.requests.pop(name))
        return {"memory": self._memory()}

    def reset(self) -> dict[str, Any]:
        done = self.manager.reset_prefix_cache()
        return {"done": done, "memory": self._memory()}

    # What is seen

    def _request(self, name: str, tokens: list[int], max_tokens: int, salt: str | None, priority: int = 0) -> Any:
        from vllm import SamplingParams
        from vllm.v1.request import Request

        params = SamplingParams(max_tokens=max_tokens, stop_token_ids=[END], ignore_eos=True)
        self.arrived += 1
        request = self.requests[name] = Request(
            name,
            tokens,
            params,
            None,
            arrival_time=float(self.arrived),
            cache_salt=salt,
            priority=priority,
            block_hasher=self.hasher,
        )
        return request

    def _is_finished(self, name: str) -> bool:
        return bool(self.requests[name].is_finished())

    def _lines(self) -> dict[str, Any]:
        return {
            "running": [request.request_id for request in self.scheduler.running],
            "waiting": [request.request_id for request in self.scheduler.waiting],
        }

    def _memory(self) -> dict[str, Any]:
        """Page tables, the free queue from its head, and what was stored and removed since this was last asked."""
        from vllm.distributed.kv_events import BlockStored
        from vllm.v1.core.kv_cache_utils import get_block_hash, maybe_convert_block_hash

        for request in self.requests.values():
            for at, key in enumerate(request.block_hashes, start=1):
                words = content(request.all_token_ids[: at * self.page_size], request.cache_salt)
                self.contents[key] = self.contents[maybe_convert_block_hash(key)] = words
        queue = self.manager.block_pool.free_block_queue.get_all_free_blocks()
        held = {name: self.manager.get_block_ids(name)[0] for name in self.requests}
        return {
            "tables": {name: [page - 1 for page in pages] for name, pages in held.items() if pages},
            "queue": [
                [block.block_id - 1, block.block_hash and self.contents[get_block_hash(block.block_hash)]]
                for block in queue
            ],
            "events": [
                ["publish" if isinstance(event, BlockStored) else "evict", self.contents[key]]
                for event in self.manager.take_events()
                for key in getattr(event, "block_hashes", ())
            ],
        }


if __name__ == "__main__":
    serve(load)
