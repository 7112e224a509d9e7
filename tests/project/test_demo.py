"""The demo: a real model, 24 requests, and a pool small enough that everything happens that can happen to a page."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pagedlab import demo
from pagedlab.demo_workload import SYSTEM, arrivals
from pagedlab.engine.llm import LLM
from pagedlab.models.catalog import LoadedModel


def test_the_workload_is_24_requests_of_mixed_lengths_that_arrive_one_after_the_other(smollm2: LoadedModel) -> None:
    assert smollm2.tokenizer is not None
    requests = arrivals(smollm2.tokenizer)
    lengths = [len(smollm2.tokenizer.encode(request.prompt)) for request in requests]
    assert len(requests) == len({request.name for request in requests}) == 24
    assert min(lengths) < 10
    assert max(lengths) > 400
    assert len({request.step for request in requests}) > 12
    assert 180 <= len(smollm2.tokenizer.encode(SYSTEM)) <= 220
    assert sum(SYSTEM in request.prompt for request in requests) == 12


@pytest.mark.slow
def test_the_demo_shares_caches_evicts_preempts_and_ends_with_its_figures(
    smollm2_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run()
    printed = capsys.readouterr().out
    assert "24 requests in" in printed
    assert re.search(r"time to first token \(TTFT\), ms +│ +median \d+, p95 \d+", printed)
    assert re.search(r"time per output token \(TPOT\), ms +│ +median \d+, p95 \d+", printed)
    assert re.search(r"output tokens +│ +\d+: \d+ a second", printed)

    def figure(row: str) -> int:
        found = re.search(rf"{row} +│ +(\d+)", printed)
        assert found is not None, row
        return int(found[1])

    num_system_pages = 12  # of 16 tokens, in a system prompt of about 200
    assert figure("pages shared, most at once") >= num_system_pages
    assert figure("pages used, most at once") <= demo.NUM_PAGES
    assert figure("pages cached, most at once") > 0
    assert figure("pages evicted") > 0
    assert figure("sequences preempted") > 0
    assert figure("prefix cache: hit rate") > 25
    in_pages, contiguous = map(float, re.findall(r"slots wasted.*\((\d+\.\d)%\)", printed))
    assert in_pages < 12 < 50 < contiguous


def small_engine(tiny_model: LoadedModel) -> tuple[LLM, demo.Meter]:
    llm = LLM(tiny_model, page_size=4, num_pages=12)
    return llm, demo.Meter(llm)


def test_the_meter_counts_what_happened(tiny_model: LoadedModel) -> None:
    from pagedlab import SamplingParams

    llm, meter = small_engine(tiny_model)
    prompt = list(range(10, 21))  # two full pages and three tokens
    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    llm.generate([prompt, prompt], params, progress=False)
    # Both come in with the first step: the second finds two pages of the first, and computes the other three tokens.
    assert meter.prefill_tokens == 11 + 3
    assert meter.shared == 2
    assert (meter.busiest.used, meter.busiest_step, meter.lengths) == (4, 0, [11, 11])
    assert meter.cached >= 3
    assert meter.preemptions == 0


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_shows_the_pages_and_a_log_file_lines(tiny_model: LoadedModel, terminal: bool) -> None:
    llm, meter = small_engine(tiny_model)
    text = StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, height=40)
    llm.engine.add_request(list(range(10, 21)))
    with demo.Screen(llm, meter, console) as screen:
        llm.engine.step()
        screen.show(0)
    assert ("\x1b[" in text.getvalue()) is terminal
    if not terminal:
        assert "step   0: 1 running" in text.getvalue()
