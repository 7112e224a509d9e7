"""Figures where matplotlib is not installed: every call of the notebooks goes through, and a kept picture is shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pagedlab.arithmetic import MACHINES, MODELS, decode_cost
from pagedlab.memory.contiguous import ContiguousAllocator
from pagedlab.view import figures, undrawn
from pagedlab.view.explorer import Explorer, Frame


@pytest.fixture(autouse=True)
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    calls: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, metadata=None, raw=False: calls.append((data, metadata))
    )
    return calls


def test_without_kept_pictures_the_reader_hears_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(undrawn.VARIABLE, raising=False)
    with pytest.raises(ImportError, match="matplotlib"):
        figures.new_figure()


def test_every_way_to_draw_goes_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(undrawn.VARIABLE, str(tmp_path))
    _, axes = figures.new_figure(8, 2)
    figures.draw_bars(axes, [figures.bar("A", page_size=4, used=7, waste=1)], unit="slots")
    figures.draw_key(axes, {"used": "used"})
    figures.draw_pages(axes, [("used", "A"), ("free", "")], columns=2)
    figures.draw_page_table(axes, {"A": [0, 2]}, 3)
    allocator = ContiguousAllocator(12)
    allocator.reserve(0, 4)
    figures.draw_line_of_slots(axes, allocator, {0: "A"})
    model = MODELS["Llama-3-8B"]
    figures.draw_roofline(axes, next(iter(MACHINES.values())), {"decode": decode_cost(model, [1024])})
    axes.spines["left"].set_visible(False)
    _, (left, right) = figures.new_figure(8, 2, columns=2)
    _, ((a, b), (c, d)) = figures.new_figure(8, 2, columns=2, rows=2)
    assert all(isinstance(it, undrawn.Undrawn) for it in (left, right, a, b, c, d))


def test_the_picture_kept_under_its_caption_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shown: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    monkeypatch.setenv(undrawn.VARIABLE, str(tmp_path))
    (tmp_path / undrawn.file_of("One, kept.")).write_text("<svg/>")
    figure, _ = figures.new_figure()
    figures.show(figure, alt="a picture", caption="One, kept.")
    figures.show(figure, alt="another", caption="One that was not.")
    (kept, how), _, (lost, _), (caption, _) = shown
    assert kept == {"image/svg+xml": "<svg/>", "text/plain": "[figure: a picture]"}
    assert how["image/svg+xml"]["alt"] == "a picture"
    assert lost == {"text/plain": "[figure: another]"} and "One that was not." in caption["text/plain"]


def test_an_explorer_does_without_its_still_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(undrawn.VARIABLE, str(tmp_path))
    explorer = Explorer({"n": [1, 2]}, lambda n: Frame(str(n), [figures.bar("A", used=n)], 3), unit="slots")
    data, _ = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data
