"""Every "Try it" of the course says what it wants, accepts a right answer and refuses a wrong one with a reason."""

from __future__ import annotations

import contextlib
import io
import re
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools import notebooks as tool


class Answers(NamedTuple):
    right: str
    wrong: str | None  #: None where any answer is accepted


#: By the names that an exercise asks for, as they stand left of its ``...`` (a function: its name).
ANSWERS = {
    "00_start_here": {
        "pages_held": Answers("5", "4"),
        "my_prediction": Answers("16", "32"),
        "max_tokens": Answers("5000", None),
        "other": Answers("LLM('smollm2-135m', page_size=4, num_pages=384, progress=False)", "llm"),
    },
    "01_the_memory_bill": {
        "kib_a_token": Answers("800", "400"),
        "saved_percent": Answers("24", "75"),
        "attention_intensity": Answers("4", "1"),
        "largest_batch": Answers("68", "67"),
    },
    "02_fragmentation": {
        "release": Answers("[0, 2, 4, 6]", "[0, 1, 4, 6]"),
        "odd_crowd": Answers("...", "[4096] * 1000"),
        "slots_with_64": Answers("arithmetic.paged_slots(final, 64)", "sum(final)"),
    },
    "03_page_tables": {
        "slot_of_50": Answers("178", "50"),
        "free_queue": Answers("[1, 6, 5, 4, 3]", "[1, 3, 4, 5, 6]"),
    },
    "04_attention_over_pages": {
        "grows_or_shrinks": Answers("'shrinks'", "'grows'"),
    },
    "06_prefill_vs_decode": {"attentions": Answers("600", "570"), "factor": Answers("1.9", "1.5")},
    "08_prefix_sharing": {"my_keys": Answers("[6, 2, 5]", "[6, 4, 9]"), "found_next": Answers("124", "126")},
    "09_two_quantisations": {"users_in_int4": Answers("285", "71")},
    "11_five_systems": {
        "factor": Answers("1.78", "2.0"),
        "who": Answers("'the one that shares'", "'the first to arrive'"),
    },
    "13_your_own_engine": {
        "computed": Answers("sum(len(o.prompt_token_ids) - o.num_cached_tokens for o in outputs)", "48"),
        "broken": Answers("lambda q, kv, batch, scale: attend(q, kv, batch, 2 * scale)", "attend"),
    },
    "07_continuous_batching": {
        "static_steps, continuous_steps": Answers("8, 6", "8, 8"),
        "smallest_budget": Answers("32", "64"),
    },
}

#: Triton decides when it is imported whether it interprets: these chapters run in a process of their own.
INTERPRETED = {
    "05_triton_decode_kernel": {
        "operations_a_byte": Answers("16", "4"),
    },
}

BLANK = re.compile(r"^([\w, ]+) = \.\.\.(?:, \.\.\.)?(?=\s|$)", re.MULTILINE)
BODY = re.compile(r"^    return None  # your line instead$", re.MULTILINE)


def asked(source: str) -> str | None:
    """The name an exercise cell asks for; None for any other cell."""
    blank, body = BLANK.search(source), BODY.search(source)
    if blank:
        return blank[1]
    return re.search(r"^def (\w+)", source, re.MULTILINE)[1] if body else None


def answered(source: str, name: str, answer: str) -> str:
    source = BODY.sub(f"    return {answer}", source)
    return re.sub(rf"^{re.escape(name)} = \.\.\..*$", lambda _: f"{name} = {answer}", source, flags=re.MULTILINE)


def printed(source: str, names: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "cell", "exec"), names)
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("chapter", ANSWERS)
def test_exercises_can_be_solved_and_cannot_be_fooled(chapter, smollm2_path):
    notebook = tool.read_source(tool.NOTEBOOKS / "src" / f"{chapter}.py")
    names: dict[str, Any] = {"__name__": "__main__"}
    met = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        name = asked(cell.source)
        if name is not None:
            met.append(name)
            right, wrong = ANSWERS[chapter][name]
            text = printed(answered(cell.source, name, right), dict(names))
            assert re.search(r"right|waste in each step|not answered yet", text), text
            if wrong is not None:
                with pytest.raises(AssertionError, match=r"\w"):
                    printed(answered(cell.source, name, wrong), dict(names))
        text = printed(cell.source, names)
        assert name is None or text.startswith("not ")
    assert met == list(ANSWERS[chapter])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton has wheels for Linux only")
@pytest.mark.parametrize("chapter", INTERPRETED)
def test_exercises_of_interpreted_kernels_can_be_solved_and_cannot_be_fooled(chapter):
    notebook, tries = tool.read_source(tool.NOTEBOOKS / "src" / f"{chapter}.py"), dict[str, list[NotebookNode]]()
    cells = []
    for cell in notebook.cells:
        name = asked(cell.source) if cell.cell_type == "code" else None
        if name is not None:
            sources = [answered(cell.source, name, answer) for answer in INTERPRETED[chapter][name]]
            tries[name] = [new_code_cell(source, metadata={"tags": ["raises-exception"]}) for source in sources]
        cells += [cell] if name is None else tries[name]
    notebook.cells = cells
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tool.NOTEBOOKS)}}).execute()
    assert list(tries) == list(INTERPRETED[chapter])
    for name, (right, wrong) in tries.items():
        assert [output.get("text", "").startswith("right") for output in right.outputs] == [True], name
        assert [(error.ename, bool(error.evalue)) for error in wrong.outputs] == [("AssertionError", True)], name
