"""Figures for the notebooks: the same bytes every time, named for those who cannot see them."""

from __future__ import annotations

import re

from pagedlab.arithmetic import MACHINES, MODELS, decode_cost, prefill_cost
from pagedlab.memory.contiguous import ContiguousAllocator
from pagedlab.memory.table import HOLE
from pagedlab.view import figures


def waste_figure():
    figure, axes = figures.new_figure(6, 2)
    figures.draw_bars(axes, [figures.bar("800", used=800, waste=224, page_size=256)], unit="slots")
    figures.draw_key(axes, {"used": "used", "waste": "wasted"})
    return figure


def texts(figure) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", figures.svg(figure, "a figure"))


def test_a_figure_is_the_same_bytes_every_time():
    assert figures.svg(waste_figure(), "x") == figures.svg(waste_figure(), "x")
    assert figures.png(waste_figure()) == figures.png(waste_figure())


def test_svg_holds_no_date_and_no_version():
    assert not re.search(r"dc:date|Matplotlib v|20\d\d-\d\d-\d\d", figures.svg(waste_figure(), "x"))


def test_what_a_figure_says_is_markup_nowhere():
    text = figures.svg(waste_figure(), '"><img src=x onerror=alert(1)>')
    assert "<img" not in text
    assert 'role="img" aria-label="&quot;&gt;&lt;img' in text


def test_bars_are_labelled_with_their_values_and_short_ones_are_not():
    figure, axes = figures.new_figure(6, 2)
    figures.draw_bars(axes, [figures.bar("2,300", used=2300, waste=4)], unit="slots")
    assert "2,300" in texts(figure) and "4" not in texts(figure)


def test_a_line_of_slots_names_reservations_and_gaps():
    line = ContiguousAllocator(100)
    for sequence in range(2):
        line.reserve(sequence, 40)
    line.extend(1, 30)
    line.release(0)
    figure, axes = figures.new_figure(6, 1)
    figures.draw_line_of_slots(axes, line, {1: "B"})
    assert {"free 40", "B 30", "10", "free 20"} <= set(texts(figure))


def test_a_page_in_two_tables_is_drawn_as_shared():
    figure, axes = figures.new_figure(6, 3)
    figures.draw_page_table(axes, {"A": [0, 1], "B": [0, 2]}, 4)
    svg = figures.svg(figure, "x")
    assert figures.STYLES["shared"][0].lower() in svg.lower()
    assert {"A: logical pages", "B: logical pages", "physical pages"} <= set(texts(figure))


def test_a_page_that_was_given_back_is_a_place_in_the_row_that_points_nowhere():
    figure, axes = figures.new_figure(6, 3)
    figures.draw_page_table(axes, {"A": [HOLE, HOLE, 3]}, 4)
    assert len(axes.lines) == 1
    assert texts(figure).count("1") == 2  # logical page 1, and physical page 1, which is free


def test_a_roofline_names_every_step():
    figure, axes = figures.new_figure(6, 3)
    model = MODELS["SmolLM2-135M"]
    steps = {"prefill": prefill_cost(model, 512), "decode": decode_cost(model, [512])}
    figures.draw_roofline(axes, MACHINES["H100"], steps)
    assert {"prefill", "decode", "intensity, FLOPs per byte"} <= set(texts(figure))


def test_kinds_differ_by_more_than_colour():
    hatched = [hatch for _, hatch in (figures.STYLES[kind] for kind in "abcd")]
    assert len(set(hatched)) == 4
    assert figures.STYLES["used"][1] != figures.STYLES["waste"][1]
