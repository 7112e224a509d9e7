"""The explorer: every frame computed in Python, sliders that need no kernel."""

from __future__ import annotations

import pytest

from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar

HOSTILE = "<img src=x onerror=alert(1)>"


def frame(page_size: int, users: int) -> Frame:
    waste = users * (page_size - 1)
    return Frame(f"{waste} wasted {HOSTILE}", [bar("A", used=10, waste=waste)], 100.0, (50.0, "limit"))


@pytest.fixture
def explorer() -> Explorer:
    return Explorer({"page_size": [1, 4, 8], "users": [1, 2]}, frame, unit="slots", start={"page_size": 4})


def test_every_combination_is_computed_once(explorer):
    assert list(explorer.frames) == [(1, 1), (1, 2), (4, 1), (4, 2), (8, 1), (8, 2)]
    assert explorer.frames[8, 2].title.startswith("14 wasted")
    assert explorer.at_start is explorer.frames[4, 1]


def test_its_text_says_what_it_is_and_holds_no_address(explorer):
    assert repr(explorer) == "Explorer(page size × users: 6 frames)"


def test_readers_without_a_kernel_see_the_first_frame(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == repr(explorer)
    assert metadata["image/png"]["alt"] == explorer.at_start.title


def test_where_there_is_no_matplotlib_it_comes_without_a_still_picture(explorer, monkeypatch):
    def missing(*_size, **_more):
        raise ImportError("no matplotlib in a browser")

    monkeypatch.setattr("pagedlab.view.explorer.new_figure", missing)
    data, _metadata = explorer._repr_mimebundle_()
    assert "image/png" not in data and data["text/plain"] == repr(explorer)
