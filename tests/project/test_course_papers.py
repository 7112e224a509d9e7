"""Glossary, notation, reading list and cheat sheet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import cheat_sheet

DOCS = Path(__file__).resolve().parents[2] / "docs"
TERMS = [
    line.split("|")[1].strip() for line in (DOCS / "glossary.md").read_text().splitlines() if line.startswith("| ")
]


def test_the_glossary_is_in_order_and_explains_each_term_once() -> None:
    terms = [term.lower() for term in TERMS[1:] if not set(term) <= {"-", " "}]
    assert terms == sorted(set(terms)) and len(terms) > 40


def test_the_words_of_the_course_are_in_the_glossary() -> None:
    words = ["page", "page table", "slot", "used page", "cached page", "free page", "request", "sequence", "prefill"]
    words += ["decode", "chunk", "step", "token budget", "preemption", "TTFT", "TPOT", "ITL", "goodput"]
    assert set(words) <= set(TERMS)


def test_the_cheat_sheet_is_what_the_program_draws(tmp_path: Path) -> None:
    drawn = cheat_sheet.write(tmp_path)
    assert [path.name for path in drawn] == ["cheat_sheet.svg", "cheat_sheet.pdf"]
    assert drawn[0].read_text() == (DOCS / "cheat_sheet.svg").read_text(), "python -m tools.cheat_sheet draws it"
    assert drawn[1].read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("figure", ["5,288", "424", "620", "128 KiB", "2.5 GiB", "178"])
def test_the_cheat_sheet_works_its_examples_out(figure: str) -> None:
    examples = [line.example for lines in cheat_sheet.sections().values() for line in lines]
    assert any(figure in example for example in examples)


def test_the_reading_list_says_what_to_look_for() -> None:
    text = (DOCS / "reading.md").read_text()
    papers = re.split(r"\n- ", text.partition("## Papers")[2].partition("## Code")[0])[1:]
    assert len(papers) >= 10
    for paper in papers:
        assert re.search(r"\[\d\d(, \d\d)*\]", paper), paper
        assert re.search(r"arXiv:|\d{4}\)", paper), paper
