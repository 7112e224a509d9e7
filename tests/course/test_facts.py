"""What the course must carry: every figure computed by a cell, what others published beside ours, and the questions.

The letters are those of the list that the course was planned with: A fragmentation, B virtual memory, C five mental
models, D why it raises throughput, E pause and recall, F interview questions, G five systems, H the bridge, I headline
figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from pagedlab.learn.quizzes import QUIZZES

ROOT = Path(__file__).resolve().parents[2]

#: What is said -> chapter, and figures of which one cell shows all and types none.
COMPUTED = {
    "A: three requests reserve 4,096 each": ("02", "12,288", "7,000", "5,288"),
    "A: pages of 256 for each": ("02", " 4 pages", " 9 pages", "16 pages", "1,024 slots", "2,304 slots", "4,096 slots"),
    "A: what they waste": ("02", "224 wasted", "  4 wasted", "196 wasted", "wasted in all: 424"),
    "A: the two against each other": ("02", "5,288 against 424"),
    "A: the bound of one request": ("02", "most: 255"),
    "A: the bound of three": ("02", "= 765"),
    "A: four requests, contiguous and in pages": (
        *("02", "8,192", "3,692", "[3, 4, 6, 7]", "[168, 124, 236, 92]", "wasted in pages: 620"),
    ),
    "A: internal fragmentation, by hand": ("02", "used 8, wasted 4"),
    "A: external fragmentation, by hand": ("02", "38 slots are free"),
    "A: page sizes and their tables": ("02", "0.0 %", "625,144", "51.0 %", "1,247 table entries"),
    "A: distributions of lengths": ("02", "all long", "mostly one-liners", "7.1 %", "97.5 %"),
    "B: 0, 7, 2, 11 come about": ("03", "[0, 7, 2, 11]"),
    "B: logical to physical": ("03", "logical page 2 → physical page  2", "slot 112", "slot 183"),
    "C1: bytes for each FLOP": ("01", "1,814 times as many bytes per FLOP"),
    "C1: measured": ("06", "prefill reaches over 4 times the FLOP/s of decode: True"),
    "C2: four pairs of bits": ("01", "14.96 + 32.00 = 46.96", " 3.74 + 32.00 = 35.74", "= 11.74 GiB"),
    "C2: what four bits are": ("09", "5.0 bits", "5.74 bits a weight"),
    "C3: one user": ("01", "2.5 GiB for one user"),
    "C3: sixteen": ("01", "40.0 GiB"),
    "C4: the model that packs": ("01", "room for   0 users", "room for  33 users", "room for 119 users"),
    "C5: latency against throughput": ("01", "4.6 ms", "25.0 ms", "10,234 tokens/s"),
    "D: the chain": ("07", "memory in use 39 %", "7.4 live requests", "7.37 tokens a step", "1,015 steps"),
    "D: tails": ("07", "first token after 385 steps (median), 824", "109 steps (median), 313"),
}

#: What others published -> chapter, their name, their figures, and ours in the same output.
PUBLISHED = {
    "I: hit rates": ("08", "SGLang", "50–99 %", "up to 6.4 times", "times as fast"),
    "I: no hits": ("08", "vLLM V1", "under 1 %", "the cache adds"),
    "I: useful memory": ("02", "SOSP 2023", "20.4 to 38.2 % useful", "96.3 % useful", "under 4 %", "our run"),
    "I: the first paged kernel": ("04", "SOSP 2023", "+20 to +26 %", "pages cost"),
    "I: throughput": ("07", "SOSP 2023", "2 to 4 times the requests", "pages bring 2.0 times"),
    "I: sampling": ("08", "SOSP 2023", "paper 6.1–9.8 %", "paper 16.2–30.5 %", "ours"),
    "I: beams": ("08", "SOSP 2023", "paper 37.6–55.2 %", "paper 44.3–66.3 %", "ours"),
    "I: cascade": ("08", "FlashInfer", "up to 31 times", "fewer tokens read"),
    "I: narrow caches": ("09", "LMDeploy", "LMDeploy: +27–28 %", "LMDeploy: +39 %", "requests live"),
}

RECALL = {
    "why contiguous allocation wastes": ("02", "Why does contiguous allocation waste memory when lengths vary?"),
    "how much waste fell": ("02", "How much did waste fall with 256-token pages"),
    "why decode is memory-bound": ("06", "Why is decode more memory-bound than prefill?"),
    "why quantised weights are not enough": ("09", "Why do quantised weights not by themselves make serving cheap?"),
}

#: Chapter, question, the common wrong answer.
INTERVIEW = {
    "pages": ("02", "Why pages and not one large contiguous reservation", "contiguous always wins"),
    "decode": ("06", "Why is decode, not prefill, the memory bottleneck", "both stress the same resources"),
    "sharing": ("08", "Why prefix sharing on top of page reuse", "only speeds up the tokenizer"),
    "allocator": ("01", "smarter allocator before a bigger model", "is automatically the best to serve"),
}

SENTENCES = {
    "B: fragmentation is waste, not intelligence": ("03", "fragmentation is waste, not intelligence"),
    "B: the sketch with four labels": ("03", "four labels: *prefill*, *decode*, *cache*, *concurrency*"),
    "C2: quantised weights": ("01", "Quantised weights are not a quantised KV cache"),
    "C3: concurrency": ("01", "concurrency is multiplication"),
    "C4: the winning deployment": ("01", "not always the one with the smartest model"),
    "C5: two pulls": ("01", "Latency targets and throughput targets pull against each other"),
    "D: sharing saves work and storage": ("08", "Sharing saves twice"),
    "D: no fresh contiguous block": ("07", "A new request needs no fresh stretch"),
    "H: without retraining": ("13", "teach new behaviour without retraining everything"),
    "H: many adapters in a page pool": ("13", "A page pool can hold them, too"),
}


@cache
def notebook(chapter: str) -> NotebookNode:
    (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    return nbformat.read(path, as_version=4)


def prose(chapter: str) -> str:
    return "\n\n".join(cell.source for cell in notebook(chapter).cells if cell.cell_type == "markdown")


def printed(cell: NotebookNode) -> str:
    """What the cell printed or returned. Captions and descriptions of figures are typed, and left out."""
    texts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            texts.append(output.text)
        elif output.output_type == "execute_result":
            texts.append(output.data.get("text/plain", ""))
    return "\n".join(texts)


def shows(text: str, figure: str) -> bool:
    """``figure`` stands in ``text``, not as a part of a longer number."""
    return re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d|[.,]\d)", text) is not None


def showing(chapter: str, figures: tuple[str, ...]) -> Iterator[int]:
    """The cells of which one output shows all figures."""
    for number, cell in enumerate(notebook(chapter).cells):
        if cell.cell_type == "code" and all(shows(printed(cell), figure) for figure in figures):
            yield number


@pytest.mark.parametrize("fact", COMPUTED)
def test_a_figure_is_computed_by_a_cell_and_typed_nowhere_in_it(fact: str) -> None:
    chapter, *figures = COMPUTED[fact]
    numbers = [number for figure in figures for number in re.findall(r"\d[\d,.]*\d", figure)]
    cells = [notebook(chapter).cells[at] for at in showing(chapter, tuple(figures))]
    typed = {cell.id: [number for number in numbers if shows(cell.source, number)] for cell in cells}
    assert [] in typed.values(), typed or f"no cell of {chapter} shows {figures}"


def assert_stands_beside_ours(chapter: str, source: str, *texts: str) -> None:
    cells = list(showing(chapter, texts))
    assert cells, f"no cell of {chapter} shows {texts}"
    around = "\n".join(cell.source for cell in notebook(chapter).cells[cells[0] - 1 : cells[0] + 1])
    assert source in around, "whose figures these are stands with them"
    after = notebook(chapter).cells[cells[0] + 1]
    assert after.cell_type == "markdown" or source in printed(notebook(chapter).cells[cells[0]])


@pytest.mark.parametrize("fact", PUBLISHED)
def test_what_others_published_stands_beside_ours_with_its_source(fact: str) -> None:
    assert_stands_beside_ours(*PUBLISHED[fact])


@pytest.mark.parametrize("question", RECALL)
def test_pause_and_recall_asks_what_must_be_known_by_heart(question: str) -> None:
    chapter, asked = RECALL[question]
    assert f"<summary>{asked}" in prose(chapter).partition("## Pause and recall")[2]


@pytest.mark.parametrize("question", INTERVIEW)
def test_an_interview_question_names_the_wrong_answer_and_a_quiz_offers_it(question: str) -> None:
    chapter, asked, wrong = INTERVIEW[question]
    summaries = re.findall("<summary>(.*?)</summary>", prose(chapter).partition("## Interview question")[2])
    assert any(asked in summary and "(Avoid: " in summary and wrong in summary for summary in summaries)
    right_and_wrong = [list(answers) for _, answers in QUIZZES.values()]
    assert any(wrong in answer for _, *answers in right_and_wrong for answer in answers), "offered, and not as right"


@pytest.mark.parametrize("fact", SENTENCES)
def test_what_is_to_be_remembered_is_said(fact: str) -> None:
    chapter, said = SENTENCES[fact]
    assert said.casefold() in prose(chapter).casefold()


def test_the_five_systems_run_in_chapter_11() -> None:
    """G: each is a preset, and answers stand below its name."""
    shown = "\n".join(printed(cell) for cell in notebook("11").cells if cell.cell_type == "code")
    for system in ("vLLM", "TensorRT-LLM", "SGLang", "LMDeploy", "TGI"):
        assert system in shown
