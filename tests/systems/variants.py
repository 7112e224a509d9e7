"""Presets for tests of what all of them must keep."""

from __future__ import annotations

from pagedlab.systems import SYSTEMS, TGI, VLLM, LMDeploy, SGLang, System, TensorRTLLM

#: All presets as they are, and with the options that change most.
VARIANTS: dict[str, System] = {
    **{name: kind() for name, kind in SYSTEMS.items()},
    "vllm, by priority": VLLM(scheduling_policy="priority"),
    "tensorrt_llm, pausing": TensorRTLLM(capacity_scheduler_policy="MAX_UTILIZATION"),
    "sglang, longest prefix": SGLang(schedule_policy="lpm"),
    "sglang, depth first": SGLang(schedule_policy="dfs-weight", radix_eviction_policy="lfu"),
    "sglang, prefill alone": SGLang(enable_mixed_chunk=False),
    "lmdeploy, swapping": LMDeploy(enable_prefix_caching=False, eviction_type="copy", num_cpu_blocks=12),
    "lmdeploy, small pages": LMDeploy(cache_block_seq_len=8),
    "tgi, without chunking": TGI(chunking=False),
    "tgi, pages of 16": TGI(block_size=16),
}
