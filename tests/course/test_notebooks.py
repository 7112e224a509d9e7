"""Guards of the course: what nbval cannot see, and what a reader without a kernel relies on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from pagedlab.learn.exercise import all_exercises
from tools import notebooks as tool

ROOT = Path(__file__).resolve().parents[2]
NAMES = [source.stem for source in tool.sources([])]
MAX_CODE_LINES, MAX_CELLS = 25, 90
PICTURES = ("image/png", "image/svg+xml")

#: Cells whose output differs between machines, and why it has to.
VARYING: dict[str, str] = {
    "figure, rows = new_figure(8.4, 4.6, rows=2)": "06: the timeline of the reader's own machine",
    "figure, axes = new_figure(8.4, 4.0)": "06: the reader's own steps under their machine's own roof",
}

#: Figures that a chapter lives on, beside those that the course was planned with (test_facts.py).
FIGURES = {
    "01_the_memory_bill": ["11,520"],
    "06_prefill_vs_decode": [
        "decode moves 929 times as many bytes per FLOP",
        "a lone decode can use 0.3% of the H100's arithmetic",
    ],
    "07_continuous_batching": [
        *("42 tokens in 19 steps", "the same tokens in 14 steps", "computed twice: 14"),
        *("memory in use 39 %", " 7.4 live requests", " 7.37 tokens a step", "1,015 steps"),
        *("memory in use 77 %", "14.7 live requests", "14.71 tokens a step", "  509 steps", "in 50 % of the steps"),
    ],
    "08_prefix_sharing": [
        *("16 table entries, 10 pages, 3 copies", "hit rate 68 %"),
        *("vLLM V1, announced: under 1 %", "SGLang, reported: 50–99 % found, up to 6.4 times", "token for token"),
        *("paper 6.1–9.8 %", "paper 16.2–30.5 %", "paper 37.6–55.2 %", "paper 44.3–66.3 %"),
    ],
    "09_two_quantisations": [
        "3e-04 nats",
        "int4 is over 100 times as wrong as int8: True",
        "int8      11.8 requests live, +25 % requests a second",
    ],
    "10_latency_and_throughput": [
        "mean 1.09 s",
        "90% good: up to",
        "cheapest at",
        "contiguous     up to",
        "on the front",
    ],
    "11_five_systems": [
        "the tokens of all five are equal: True",
        "everybody got every token: True",
        "who gains most: TGI and TensorRT-LLM",
    ],
    "12_beyond_one_machine": [
        *("2.00 $ a million", "1 of 2 KV heads", "tokens equal to those of a single rank: True"),
        *("went to [0, 0, 1, 1], found [0, 32, 0, 32] tokens", "last at 10.5 s", "asked 2,880, answered 2,880"),
    ],
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def notebook(name: str) -> NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in code_cells(notebook):
        yield from cell.outputs


def prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def shown_text(notebook: NotebookNode) -> str:
    """What its cells printed and returned. Captions and descriptions of figures are typed, and left out."""
    shown = [output for output in outputs(notebook) if output.output_type in ("stream", "execute_result")]
    return "\n".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in shown)


def test_the_course_has_its_first_four_notebooks():
    assert NAMES[:4] == ["00_start_here", "01_the_memory_bill", "02_fragmentation", "03_page_tables"]


def test_every_notebook_has_a_source():
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == NAMES


def test_the_notebook_holds_the_cells_of_its_source(name):
    assert tool.pair_problem(ROOT / "notebooks" / "src" / f"{name}.py") is None


def test_every_code_cell_was_run_once_and_in_order(notebook):
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))


def test_every_code_cell_shows_something(notebook):
    assert [cell.source for cell in code_cells(notebook) if not cell.outputs] == []


def test_cells_are_short_and_not_too_many(notebook):
    assert len(notebook.cells) <= MAX_CELLS
    assert [cell.source for cell in code_cells(notebook) if len(cell.source.splitlines()) > MAX_CODE_LINES] == []


def test_no_cell_failed_or_complained(notebook):
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []


def test_tags_hide_nothing_from_the_strict_check(notebook):
    tagged = {cell.source.splitlines()[0]: cell.metadata.get("tags", []) for cell in notebook.cells}
    assert {line for line, tags in tagged.items() if tool.VARIES in tags} <= VARYING.keys()
    other = {tag for tags in tagged.values() for tag in tags} - {tool.VARIES}
    assert other == set(), "tags such as raises-exception or nbval-skip would let a broken cell pass"
    assert not re.search(r"NBVAL_|PYTEST_VALIDATE", "\n".join(cell.source for cell in code_cells(notebook)))


def test_varying_cells_are_few_and_each_has_a_reason():
    assert len(VARYING) <= 3
    assert all(len(reason) > 20 for reason in VARYING.values())


def test_only_drawings_are_folded_away(notebook):
    folded = [cell for cell in code_cells(notebook) if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert [cell.source for cell in folded if "show(" not in cell.source] == []


def test_every_picture_is_described_in_words(notebook):
    for output in outputs(notebook):
        data, metadata = output.get("data", {}), output.get("metadata", {})
        for kind in PICTURES:
            if kind in data:
                described = metadata.get(kind, {}).get("alt", "")
                if kind == "image/svg+xml" and not described:
                    described = "".join(re.findall(r"<(?:title|desc)[^>]*>(.*?)</", data[kind], re.DOTALL))
                assert len(described) > 20, f"{kind} without a description: {data['text/plain']}"


def test_every_drawing_brings_svg_and_png_and_a_caption(notebook):
    for cell in code_cells(notebook):
        pictures = [output for output in cell.outputs if "image/svg+xml" in output.get("data", {})]
        for output in pictures:
            assert "image/png" in output.data, "JupyterLab shows no SVG of a notebook that is not trusted yet"
        if pictures and "show(" in cell.source:
            caption = cell.outputs[-1].data["text/markdown"]
            assert len(caption) > 40 and caption.rstrip("*").endswith(".")


def test_svg_holds_no_date_and_no_version(notebook):
    for output in outputs(notebook):
        text = output.get("data", {}).get("image/svg+xml", "")
        assert not re.search(r"dc:date|Matplotlib v|20\d\d-\d\d-\d\d", text)


def test_no_widget_state_is_kept(notebook):
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in json.dumps(notebook)


def test_a_still_picture_stands_before_each_widget(notebook):
    pictures_so_far = 0
    for cell in code_cells(notebook):
        is_widget = re.search(r"^(Explorer\(|KernelPlayer\(|page_maps?\(|\w+\.page_map\(\))", cell.source, re.MULTILINE)
        if is_widget:
            assert pictures_so_far, cell.source
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), "no fallback on paper"
        pictures_so_far += any("image/svg+xml" in output.get("data", {}) for output in cell.outputs)


def test_outputs_name_no_machine(notebook):
    text = json.dumps(list(outputs(notebook)))
    text = re.sub(r'"image/png": "[^"]*"', "", text)  # base64 spells anything, sooner or later
    assert not re.search(r"/(?:home|root|tmp|work|usr|Users|opt)/|0x[0-9a-f]{6,}|C:\\\\", text)


def test_no_timing_and_no_version_is_kept(notebook):
    assert notebook.metadata == tool.METADATA
    assert all(cell.metadata.keys() <= {"tags", "jupyter"} for cell in notebook.cells)


def test_links_lead_somewhere(name, notebook):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(notebook)):
        assert target.startswith("https://") or (ROOT / "notebooks" / target).exists(), target


def test_a_chapter_has_its_parts(name, notebook):
    text = prose(notebook)
    for part in ("**The idea in a line:**", "**Afterwards you can**", "**Time:**", "**Needs:**"):
        assert part in notebook.cells[0].source
    for part in ("## Pause and recall", "## Interview question", "(Avoid: ", "## Sketch from memory", "## Bridge"):
        assert part in text
    assert text.count("<b>Takeaway") >= 3 and text.count("### Try it") <= 7
    assert text.count("### Try it") + text.count("### Exercise") >= 4
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")
    assert text.count("<summary>Solution</summary>") == text.count("### Try it")


def test_its_exercises_stand_in_the_notebook_each_with_its_check(name, notebook):
    named = re.findall(r"^### Exercise (\d\d\.\w+) · ", prose(notebook), re.M)
    checked = re.findall(r'^check\("(.+)"\)$', "\n".join(cell.source for cell in code_cells(notebook)), re.M)
    assert named == checked and sorted(named) == sorted(e for e in all_exercises() if e.startswith(name[:2]))
    for number, cell in enumerate(notebook.cells):
        for named_here, told in re.findall(r"^### Exercise (\S+) · (.*)$", cell.source, re.M):
            exercise = all_exercises()[named_here]
            level = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
            assert told == f"{exercise.title} ({level}, {exercise.minutes} min)"
            assert f"`exercises/{exercise.file}`" in cell.source
            assert notebook.cells[number + 1].source.endswith(f'check("{exercise.name}")')


def test_prose_between_cells_is_short(notebook):
    """One to three sentences, tables and folded answers aside."""
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown" and not re.search(r"<details>|^\| |^- |^## Sketch|alert", cell.source, re.M):
            text = re.sub(r"^#+ .*$", "", cell.source, flags=re.M)
            assert len(re.findall(r"[.!?:](?=\s|$)", text)) <= 5, text


@pytest.mark.parametrize(("chapter", "figure"), [(c, f) for c, figures in FIGURES.items() for f in figures])
def test_a_figure_of_the_course_is_computed_by_a_cell(chapter, figure):
    notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4)
    assert figure in shown_text(notebook)
