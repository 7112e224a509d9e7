"""pagedlab demo: a real model serves a mixed batch from a page pool that you watch, and then the figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pagedlab.arithmetic import contiguous_concurrency, contiguous_slots, contiguous_waste
from pagedlab.demo_workload import arrivals
from pagedlab.view.frames import Counts, Follower, Status, count, status_of
from pagedlab.view.terminal import TerminalPageMap, headline

if TYPE_CHECKING:
    from pagedlab.engine.llm import LLM
    from pagedlab.engine.outputs import RequestOutput
    from pagedlab.scheduling.plan import StepPlan

MODEL = "smollm2-135m"
PAGE_SIZE = 16
NUM_PAGES = 128  # fewer than the requests would like: pages are evicted, and sequences preempted
MAX_CONTEXT = 1024  # what each request would have to reserve if its memory had to be one piece
MAX_TOKENS_PER_STEP = 256  # long prompts are computed in chunks, while others decode

FRAME = 0.1  # seconds between two pictures of the pages
LINE = 2.0  # seconds between two lines where there is no terminal


@dataclass
class Meter:
    """Watches every step; keeps what the figures are made of."""

    llm: LLM
    now: Counts = field(init=False)
    busiest: Counts = field(init=False)  #: at the step with most pages used
    busiest_step: int = 0
    lengths: list[int] = field(default_factory=list)  #: tokens of each sequence that ran in it
    prefill_tokens: int = 0  #: prompt tokens computed; again after a preemption
    preemptions: int = 0
    shared: int = 0  #: most pages with more than one reader
    cached: int = 0  #: most pages kept for those who may come back

    def __post_init__(self) -> None:
        self._follower = Follower(self.llm.trace)
        self.now = self.busiest = count(self._follower.now())
        self.llm.engine.listeners.append(self.observe)

    def observe(self, plan: StepPlan) -> None:
        page_map = self._follower.now()
        self.now = count(page_map)
        self.shared, self.cached = max(self.shared, self.now.shared), max(self.cached, self.now.cached)
        self.preemptions += len(plan.preempted)
        for chunk in plan.chunks:
            self.prefill_tokens += max(0, min(chunk.stop, chunk.sequence.request.num_prompt) - chunk.start)
        if self.now.used > self.busiest.used:
            self.busiest, self.busiest_step = self.now, plan.step
            views = page_map.sequences.values()
            self.lengths = [view.computed for view in views if status_of(view) is Status.RUNNING]


def run() -> None:
    """Load the model, serve the workload, show the pages while it runs, then print the figures."""
    console = Console()
    console.print(f"Loading {MODEL} …")
    llm, meter = load()
    start = time.perf_counter()
    outputs = serve(llm, meter, console)
    seconds = time.perf_counter() - start
    llm.check()
    for output in _samples(outputs):
        answer = " ".join(output.outputs[0].text.split())
        console.print(Text(f"{output.request_id}: {answer}"), overflow="ellipsis", no_wrap=True)
    console.print(figures(outputs, meter, seconds))


def load() -> tuple[LLM, Meter]:
    from pagedlab.engine.llm import LLM

    llm = LLM(
        MODEL,
        page_size=PAGE_SIZE,
        num_pages=NUM_PAGES,
        max_tokens_per_step=MAX_TOKENS_PER_STEP,
        max_context=MAX_CONTEXT,
    )
    return llm, Meter(llm)


def serve(llm: LLM, meter: Meter, console: Console) -> list[RequestOutput]:
    """Step the engine until every request has been answered, letting them in one after the other."""
    waiting, finished = arrivals(llm.tokenizer), []
    step = 0
    with Screen(llm, meter, console) as screen:
        while waiting or llm.engine.has_work:
            while waiting and (waiting[0].step <= step or not llm.engine.has_work):
                request = waiting.pop(0)
                llm.engine.add_request(request.prompt, request.params, request_id=request.name)
            finished += [output for output in llm.engine.step() if output.finished]
            screen.show(step)
            step += 1
    return finished


class Screen:
    """The pages, live, in a terminal; elsewhere a line every two seconds."""

    def __init__(self, llm: LLM, meter: Meter, console: Console) -> None:
        self._meter, self._console = meter, console
        pages = TerminalPageMap(llm.trace)
        self._live = Live(pages, console=console, auto_refresh=False) if console.is_terminal else None
        self._shown = float("-inf")

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, step: int) -> None:
        now = time.perf_counter()
        if now - self._shown < (LINE if self._live is None else FRAME):
            return
        self._shown = now
        if self._live is None:
            self._console.print(headline(step, self._meter.now), soft_wrap=True)
        else:
            self._live.refresh()


def _samples(outputs: Sequence[RequestOutput]) -> list[RequestOutput]:
    """An answer, a summary and a continuation."""
    return [output for name in ("ask0", "log0", "run0") for output in outputs if output.request_id == name]


def figures(outputs: Sequence[RequestOutput], meter: Meter, seconds: float) -> Table:
    """What the run cost and what the pages saved."""
    ttft = [1000 * output.metrics.ttft for output in outputs if output.metrics.ttft is not None]
    tpot = [1000 * output.metrics.tpot for output in outputs if output.metrics.tpot is not None]
    num_output = sum(len(output.outputs[0].token_ids) for output in outputs)
    num_prompt = sum(len(output.prompt_token_ids) for output in outputs)
    stats, busiest = meter.llm.engine.manager.stats, meter.busiest
    reserved = contiguous_slots(meter.lengths, MAX_CONTEXT)
    wasted = contiguous_waste(meter.lengths, MAX_CONTEXT)
    at_once = contiguous_concurrency(NUM_PAGES * PAGE_SIZE, MAX_CONTEXT)

    table = Table(title=f"{len(outputs)} requests in {seconds:.0f} seconds", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("time to first token (TTFT), ms", _spread(ttft))
    table.add_row("time per output token (TPOT), ms", _spread(tpot))
    table.add_row("output tokens", f"{num_output}: {num_output / seconds:.0f} a second")
    table.add_row("prompt tokens", f"{num_prompt}: {meter.prefill_tokens} computed")
    table.add_row("prefix cache: hit rate", f"{stats.hit_rate:.0%}", end_section=True)
    table.add_row("pages used, most at once", f"{busiest.used} of {NUM_PAGES}")
    table.add_row("pages shared, most at once", str(meter.shared))
    table.add_row("pages cached, most at once", str(meter.cached))
    table.add_row("pages evicted", str(stats.evictions))
    table.add_row("sequences preempted", str(meter.preemptions), end_section=True)
    table.add_row("at the busiest step: sequences", f"{len(meter.lengths)} (contiguous: {at_once} would fit)")
    table.add_row("slots wasted in pages", f"{busiest.waste} of {busiest.slots} ({busiest.waste / busiest.slots:.1%})")
    table.add_row(f"slots wasted if each reserved {MAX_CONTEXT}", f"{wasted} of {reserved} ({wasted / reserved:.1%})")
    return table


def _spread(values: list[float]) -> str:
    return f"median {median(values):.0f}, p95 {quantiles(values, n=20)[-1]:.0f}"
