"""`pagedlab simulate`: what would happen, from a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pagedlab.scheduling.latency import Slo
    from pagedlab.scheduling.load import Offer
    from pagedlab.simulate.results import Results


class Format(StrEnum):
    AZURE = "azure"
    BURSTGPT = "burstgpt"
    MOONCAKE = "mooncake"
    SHAREGPT = "sharegpt"


WORKLOAD = "chat, documents, few-shot, agents, sampling, bursts or diurnal; left aside where a trace is given."
SYSTEM = "vllm, tensorrt_llm, sglang, lmdeploy or tgi; say it again to compare, or 'all'."


def simulate(
    workload: Annotated[str, typer.Argument(help=WORKLOAD)] = "chat",
    system: Annotated[list[str] | None, typer.Option(help=SYSTEM)] = None,
    model: Annotated[str, typer.Option(help="A model that pagedlab.arithmetic knows the sizes of.")] = "Llama-3-8B",
    gpu: Annotated[str, typer.Option(help="A machine that it knows: H100, A100, L4 …")] = "H100",
    ranks: Annotated[int, typer.Option(help="Machines that share one model.")] = 1,
    replicas: Annotated[int, typer.Option(help="So many of them, behind a router.")] = 1,
    router: Annotated[str, typer.Option(help="random, round_robin, least_loaded, two_choices or prefix.")] = "prefix",
    rate: Annotated[float, typer.Option(help="Sessions a second.")] = 4.0,
    sessions: Annotated[int, typer.Option(help="How many of them; each is one request or more.")] = 1000,
    seed: Annotated[int, typer.Option(help="Same seed, same load.")] = 0,
    trace: Annotated[Path | None, typer.Option(help="A file of recorded requests, in place of a workload.")] = None,
    trace_format: Annotated[Format, typer.Option(help="What the file is.")] = Format.AZURE,
    num_pages: Annotated[int | None, typer.Option(help="Pages; by default as many as fit beside the weights.")] = None,
    ttft: Annotated[float, typer.Option(help="Promised: seconds to the first token.")] = 1.0,
    tpot: Annotated[float, typer.Option(help="Promised: seconds for each later token.")] = 0.05,
    price: Annotated[float | None, typer.Option(help="Dollars for an hour of a replica.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a row a request into this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """Serve a load without a model, on a clock: the engine's own scheduler, a cost model, seconds that never were.

    For example:  pagedlab simulate chat --system all --rate 6 --price 2.50
    """
    from pagedlab.progress import progress_bar
    from pagedlab.scheduling.latency import Slo
    from pagedlab.simulate.fleet import Fleet
    from pagedlab.simulate.simulator import Simulator
    from pagedlab.simulate.within import within_context
    from pagedlab.systems import SYSTEMS

    names = system or ["vllm"]
    names = list(SYSTEMS) if names == ["all"] else names
    slo = Slo(ttft, tpot)
    runs: dict[str, Results] = {}
    for name in names:
        simulator = Simulator(name, model=model, gpu=gpu, ranks=ranks, num_pages=num_pages)
        most = simulator.replica().scheduler.max_sequence_tokens
        with progress_bar(f"Simulating {name}", None if trace else sessions) as advance:
            offers = _offers(workload, rate, sessions, seed, trace, trace_format)
            fleet = Fleet(simulator, replicas, router)  # one replica in a fleet is that replica
            runs[name] = fleet.run(within_context(_counted(offers, advance), most))
    figures = {name: _figures(results, slo, price) for name, results in runs.items()}
    if csv is not None:
        _write(csv, runs)
    if as_json:
        print(json.dumps(figures, indent=1))
    else:
        _show(figures)


def _offers(
    workload: str, rate: float, sessions: int, seed: int, trace: Path | None, trace_format: Format
) -> Iterator[Offer]:
    from pagedlab.simulate.arrivals import Poisson
    from pagedlab.simulate.sharegpt import ShareGPT
    from pagedlab.simulate.traces import TRACES
    from pagedlab.simulate.workload import WORKLOADS

    if trace is not None and trace_format is Format.SHAREGPT:
        return ShareGPT(trace, arrivals=Poisson(rate)).offers(seed, sessions)
    if trace is not None:
        return TRACES[trace_format](trace).offers(seed, sessions)
    if workload not in WORKLOADS:
        about = "; ".join(f"{name} ({entry.about})" for name, entry in WORKLOADS.items())
        raise typer.BadParameter(f"{workload!r} is no workload; there are {about}")
    return WORKLOADS[workload].make(rate).offers(seed, sessions)


def _counted(offers: Iterable[Offer], advance: Callable[[float], None]) -> Iterator[Offer]:
    for offer in offers:
        advance(1)
        yield offer


def _figures(results: Results, slo: Slo, price: float | None) -> dict[str, float]:
    figures = results.summary(slo)
    if price is not None:
        figures["dollars_per_million_tokens"] = results.cost_per_million(price)
    return figures


def _write(path: Path, runs: dict[str, Results]) -> None:
    import pandas as pd

    pd.concat([results.table().assign(system=name) for name, results in runs.items()]).to_csv(path, index=False)


#: What is shown, in this order: name of the figure, what it is called, how it is written.
ROWS: tuple[tuple[str, str, str], ...] = (
    ("requests", "requests", "{:,.0f}"),
    ("refused", "refused", "{:,.0f}"),
    ("seconds", "seconds", "{:,.1f}"),
    ("ttft_p50", "TTFT p50, ms", "{:,.0f}"),
    ("ttft_p99", "TTFT p99, ms", "{:,.0f}"),
    ("tpot_p50", "TPOT p50, ms", "{:,.1f}"),
    ("tpot_p99", "TPOT p99, ms", "{:,.1f}"),
    ("tokens_per_second", "output tokens a second", "{:,.0f}"),
    ("goodput", "requests a second in time", "{:,.2f}"),
    ("attainment", "requests in time", "{:.1%}"),
    ("utilisation", "utilisation", "{:.1%}"),
    ("hit_rate", "prompt tokens found in the cache", "{:.1%}"),
    ("preemptions", "preemptions", "{:,.0f}"),
    ("evictions", "pages evicted", "{:,.0f}"),
    ("dollars_per_million_tokens", "dollars a million tokens", "{:,.2f}"),
)


def _show(figures: dict[str, dict[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", *figures, box=None)
    for name, title, form in ROWS:
        values = [found.get(name) for found in figures.values()]
        if any(value is not None for value in values):
            scale = 1000 if title.endswith(", ms") else 1
            table.add_row(title, *("–" if value is None else form.format(scale * value) for value in values))
    Console().print(table)
