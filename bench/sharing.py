"""Memory saved by sharing pages: parallel sampling and beam search, beside the figures of the PagedAttention paper.

    python -m bench.sharing [--requests N] [--json FILE]

The paper (Kwon et al., SOSP 2023, section 6.3) counts, while requests run, the pages that page tables name and the
pages that there are: what it saves is 1 - pages / names. Its prompts come from Alpaca (short) and ShareGPT (long);
those are not here, so prompts of the same mean length are cut from this repository's own text, and outputs have the
same mean length. The model is SmolLM2-135M-Instruct and the prefix cache is off, so that nothing but forks is shared.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from pagedlab import LLM, SamplingParams
from pagedlab.progress import progress_bar
from pagedlab.scheduling.plan import StepPlan

PAGE_SIZE = 16


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of prompt and output, as the paper gives them (figure 11), and what it found (figure 15), in %."""

    name: str
    prompt: float
    output: float
    sampling: tuple[float, float]
    beam: tuple[float, float]


WORKLOADS = (
    Lengths("Alpaca", 19.31, 58.45, (6.1, 9.8), (37.6, 55.2)),
    Lengths("ShareGPT", 161.31, 337.99, (16.2, 30.5), (44.3, 66.3)),
)
WIDTHS = (2, 4, 6)


@dataclass(frozen=True)
class Result:
    workload: str
    kind: str  #: parallel sampling or beam search
    width: int
    requests: int
    saved_percent: float
    paper_percent: tuple[float, float]  #: from width 2 to width 6


class Meter:
    """Pages that there are and pages that tables name, step by step."""

    def __init__(self, llm: LLM) -> None:
        self.manager = llm.engine.manager
        self.pages = self.names = 0
        llm.engine.listeners.append(self.observe)

    def observe(self, plan: StepPlan) -> None:
        self.pages += self.manager.pool.num_used
        self.names += sum(len(self.manager.table(sequence)) for sequence in self.manager.sequences)


def measure(llm: LLM, lengths: Lengths, kind: str, width: int, requests: int) -> Result:
    meter = Meter(llm)
    draw = random.Random(0)  # the same requests at every width
    text = llm.tokenizer.encode(corpus())
    prompts, params = [], []
    for number in range(requests):
        # Exponential lengths have the long tail that the paper's histograms show.
        num_prompt = max(1, round(draw.expovariate(1 / lengths.prompt)))
        num_output = max(1, min(1024, round(draw.expovariate(1 / lengths.output))))
        start = draw.randrange(len(text) - num_prompt)
        prompts.append(text[start : start + num_prompt])
        wide = {"n": width} if kind == "parallel sampling" else {"beam_width": width}
        params.append(SamplingParams(max_tokens=num_output, ignore_eos=True, seed=number, **wide))
    llm.generate(prompts, params, progress=False)
    llm.engine.listeners.remove(meter.observe)
    paper = lengths.sampling if kind == "parallel sampling" else lengths.beam
    return Result(lengths.name, kind, width, requests, 100 * (1 - meter.pages / meter.names), paper)


def corpus() -> str:
    root = Path(__file__).parent.parent
    files = [root / "README.md", *sorted((root / "notebooks" / "src").glob("*.py"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=16, help="of each kind (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    llm = LLM("smollm2-135m", num_pages=4096, page_size=PAGE_SIZE, prefix_cache="none", trace=False)
    results = []
    kinds = ("parallel sampling", "beam search")
    with progress_bar("Measuring", len(WORKLOADS) * len(kinds) * len(WIDTHS), show=True) as advance:
        for lengths in WORKLOADS:
            for kind in kinds:
                for width in WIDTHS:
                    results.append(measure(llm, lengths, kind, width, args.requests))
                    advance(1)
    show(results)
    if args.json:
        machine = {"processor": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
        report = {"page_size": PAGE_SIZE, "machine": machine, "results": [asdict(result) for result in results]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def show(results: list[Result]) -> None:
    table = Table("lengths of", "kind", "width", "saved here, %", "paper, widths 2 to 6, %", title="Memory saved")
    for result in results:
        low, high = result.paper_percent
        row = (result.workload, result.kind, str(result.width), f"{result.saved_percent:.1f}", f"{low} to {high}")
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
