"""Figures can be read: text and lines stand out from what they lie on, and no two neighbours look alike to anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from pagedlab.view import figures, timeline
from pagedlab.view.palette import GUIDE, LINES, ON_OWNERS, OWNERS
from tests.view.colours import contrast, distance, least_distance

ROOT = Path(__file__).resolve().parents[2]
TEXT, GRAPHIC = 4.5, 3.0  #: WCAG 2.2, 1.4.3 and 1.4.11
APART = 15.0  #: ΔE, over six times what is just noticeable


def test_the_measures_agree_with_known_values() -> None:
    assert contrast("#000000") == pytest.approx(21) and contrast("#FFFFFF") == pytest.approx(1)
    assert contrast("#767676") == pytest.approx(4.54, abs=0.01)  # the palest grey that passes for text on white
    assert distance("#FF0000", "#00A000", "all three") > 100
    assert distance("#B00000", "#5F5000", "no red") < distance("#B00000", "#5F5000", "all three") / 2


@pytest.mark.parametrize(("ground", "ink"), list(zip(OWNERS, ON_OWNERS, strict=True)))
def test_text_on_an_owners_colour_can_be_read(ground: str, ink: str) -> None:
    assert contrast(ink, ground) >= TEXT


@pytest.mark.parametrize("kind", figures.STYLES)
def test_text_on_a_bar_can_be_read_or_has_a_plate(kind: str) -> None:
    colour, hatch = figures.STYLES[kind]
    assert hatch or contrast("#FFFFFF" if kind == "used" else "#000000", colour) >= TEXT


@pytest.mark.parametrize("colour", [*LINES, GUIDE])
def test_lines_stand_out_from_the_paper(colour: str) -> None:
    assert contrast(colour) >= GRAPHIC


@pytest.mark.parametrize("colours", [OWNERS, LINES], ids=["owners", "lines"])
def test_no_two_colours_look_alike_to_colour_blind_eyes(colours: tuple[str, ...]) -> None:
    close = {pair: least_distance(*pair) for pair in combinations(colours, 2) if least_distance(*pair) < APART}
    assert close == {}


@pytest.mark.parametrize("looks", [figures.STYLES, timeline.KINDS], ids=["bars", "kinds of work"])
def test_kinds_that_look_alike_to_somebody_are_hatched_differently(looks: Mapping[str, tuple[str, str]]) -> None:
    for (one, (colour, hatch)), (other, (colour2, hatch2)) in combinations(looks.items(), 2):
        assert hatch != hatch2 or least_distance(colour, colour2) >= APART, (one, other)


NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def committed(stem: str) -> Iterator[str]:
    """The figures of a notebook as SVG."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/svg+xml" in output.get("data", {}):
                yield output.data["image/svg+xml"]


def plotted(stem: str) -> Iterator[str]:
    """Those that matplotlib drew."""
    return (svg for svg in committed(stem) if 'id="figure_1"' in svg)


def boxes(element: ElementTree.Element) -> Iterator[tuple[float, float, float, float]]:
    """The rectangles of a mark (``pagedlab/view/drawing.py``): x, y, width, height."""
    if element.tag.endswith("rect"):
        x, y, width, height = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
        yield x, y, width, height
    elif element.attrib.get("fill") != "none":
        number = r"(-?[\d.]+)"
        for found in re.findall(f"M{number} {number}h{number}v{number}h", element.attrib.get("d", "")):
            x, y, width, height = map(float, found)
            yield x, y, width, height


def words(svg: str) -> Iterator[tuple[str, str, str]]:
    """Each text of a drawing, its colour, and the colour of the last box that was drawn under its anchor."""
    grounds: list[tuple[tuple[float, float, float, float], str]] = []
    for element in ElementTree.fromstring(svg):
        if element.tag.endswith("text"):
            at = element.attrib
            x, y = float(at["x"]), float(at["y"]) - 0.35 * float(at["font-size"])
            under = [fill for (left, top, w, h), fill in grounds if left <= x <= left + w and top <= y <= top + h]
            yield element.text or "", at["fill"], under[-1] if under else "#FFFFFF"
        else:
            grounds += [(box, element.attrib["fill"]) for box in boxes(element)]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_word_and_every_line_of_a_committed_figure_can_be_read(stem: str) -> None:
    """Frames of legends, bands behind rows and edges between bars carry no meaning."""
    decoration = {"#FFFFFF", "#CCCCCC", "#EEEEEE"}
    strokes = {
        stroke.upper() for svg in plotted(stem) for stroke in re.findall(r'="fill: none;[^"]*stroke: (#\w{6})', svg)
    }
    faint = {stroke for stroke in strokes - decoration if contrast(stroke) < GRAPHIC}
    drawn = (svg for svg in committed(stem) if 'id="figure_1"' not in svg)
    faint |= {(text, ink, on) for svg in drawn for text, ink, on in words(svg) if contrast(ink, on) < TEXT}
    assert faint == set()


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_colour_of_a_plot_is_one_that_was_tried(stem: str) -> None:
    greys = {
        "#000000",
        "#FFFFFF",
        "#444444",
        "#57606A",
        "#666666",
        "#999999",
        "#BBBBBB",
        "#CCCCCC",
        "#EEEEEE",
        "#F4F4F4",
        GUIDE,
    }
    used = {colour.upper() for svg in plotted(stem) for colour in re.findall(r"(?:fill|stroke): (#\w{6})", svg)}
    assert used <= {*OWNERS, *LINES, *greys}
