"""The same memory cut into pages of each format: how many requests run at once, and how many are done in a second.

    python -m bench.kv_formats [--quick] [--json FILE]

All requests arrive at once and wait for pages: the room is so small that 16-bit pages hold a few of them. The formats
take turns in every round, another one first each time; a ratio is the median over rounds of bfloat16's seconds over
the format's own in the same round. Seconds are the processor's own, with one thread: what other programs do does not
count. Beside a ratio stands what LMDeploy's documentation reports for Llama 2 on a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from random import Random
from typing import Any

from pagedlab import LLM, SamplingParams

import torch  # isort: skip
from rich.console import Console
from rich.table import Table

from pagedlab.arithmetic import MIB
from pagedlab.engine.kv_cache import KVCache
from pagedlab.models.catalog import LoadedModel, load_model

FORMATS = ("bfloat16", "int8", "int4")
#: Requests a second over those of a 16-bit cache, Llama 2 7B and 13B on an A100, as LMDeploy's documentation reports.
LMDEPLOY = {"int8": (1.27, 1.28), "int4": (1.39, 1.39)}
PAGE_SIZE, ROOM = 16, 24 * MIB
PROMPTS, OUTPUTS = (32, 64, 128), (48, 64, 96)  #: lengths in tokens, drawn evenly


def requests(number: int) -> tuple[list[list[int]], list[SamplingParams]]:
    """The same for every format; token ids at random, so that none begins like another."""
    draw = Random(0)
    prompts = [[draw.randrange(1000, 40_000) for _ in range(draw.choice(PROMPTS))] for _ in range(number)]
    wishes = [SamplingParams(max_tokens=draw.choice(OUTPUTS), temperature=0.0, ignore_eos=True) for _ in prompts]
    return prompts, wishes


def serve(model: LoadedModel, kv_dtype: str, number: int) -> dict[str, float]:
    """Seconds for all requests, and how many ran in a step on average."""
    num_pages = ROOM // KVCache(model.config, 1, PAGE_SIZE, kv_dtype).bytes_per_page
    knobs: dict[str, Any] = {"prefix_cache": "none", "trace": False, "max_sequences": 256}
    llm = LLM(model, kv_dtype=kv_dtype, page_size=PAGE_SIZE, num_pages=num_pages, **knobs)
    live: list[int] = []
    llm.engine.listeners.append(lambda plan: live.append(len(plan.chunks)))
    prompts, wishes = requests(number)
    start = time.process_time()
    llm.generate(prompts, wishes, progress=False)
    seconds = time.process_time() - start
    llm.check()
    return {"seconds": seconds, "pages": num_pages, "live": statistics.mean(live), "steps": len(live)}


def measure(number: int, rounds: int) -> list[dict[str, Any]]:
    model = load_model("smollm2-135m", progress=False)
    serve(model, FORMATS[0], 2)  # warm
    runs: dict[str, list[dict[str, float]]] = {kv: [] for kv in FORMATS}
    for turn in range(rounds):
        for kv in FORMATS[turn % len(FORMATS) :] + FORMATS[: turn % len(FORMATS)]:
            runs[kv].append(serve(model, kv, number))
    base = runs[FORMATS[0]]
    return [
        {
            "kv_dtype": kv,
            "pages": int(mine[0]["pages"]),
            "live": round(mine[0]["live"], 2),
            "steps": int(mine[0]["steps"]),
            "requests_per_second": round(number / statistics.median(run["seconds"] for run in mine), 3),
            "gain": round(statistics.median(b["seconds"] / m["seconds"] for b, m in zip(base, mine, strict=True)), 3),
            "lmdeploy": LMDEPLOY.get(kv),
        }
        for kv, mine in runs.items()
    ]


def show(results: list[dict[str, Any]]) -> None:
    table = Table("pages of", "pages", "live", "steps", "requests a second", "over bfloat16", "LMDeploy reports")
    for one in results:
        reported = "–".join(f"{100 * gain - 100:+.0f} %" for gain in dict.fromkeys(one["lmdeploy"] or ()))
        figures = (one["pages"], one["live"], one["steps"], one["requests_per_second"])
        table.add_row(one["kv_dtype"], *map(str, figures), f"{100 * one['gain'] - 100:+.0f} %", reported)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few requests: does it run?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    number, rounds = (4, 1) if args.quick else (40, 5)
    about = {
        "model": "smollm2-135m, float32",
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "room_mib": ROOM // MIB,
        "requests": number,
        "rounds": rounds,
        "quick": args.quick,
        "seconds": "of the processor, one thread",
    }
    results = measure(number, rounds)
    show(results)
    if args.json:
        args.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
