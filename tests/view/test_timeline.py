"""Profiles as drawings: each kind of work in its lane, shares that add up, steps under their roof."""

from __future__ import annotations

import re

import pytest

from pagedlab.arithmetic import Machine
from pagedlab.engine.profiling import Kind
from pagedlab.view import figures, timeline
from pagedlab.view.timeline import Reached, Stretch


def texts(figure) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", figures.svg(figure, "a figure"))


def test_every_kind_of_work_has_a_look():
    assert list(timeline.KINDS) == [str(kind) for kind in Kind]
    assert len(set(timeline.KINDS.values())) == len(Kind)


def test_a_lane_is_named_with_its_share_and_marked_where_its_work_was():
    figure, axes = figures.new_figure()
    stretches = [Stretch("matrices", 0.0, 0.004), Stretch("matrices", 0.006, 0.002), Stretch("sampling", 0.009, 0.001)]
    timeline.draw_timeline(axes, stretches, 0.010)
    assert {"matrices 60%", "sampling 10%", "scheduling 0%"} <= set(texts(figure))
    drawn = [(round(p.get_x(), 6), round(p.get_width(), 6), round(p.get_y() + 0.35)) for p in axes.patches]
    assert drawn == [(0, 4, 0), (6, 2, 0), (9, 1, 3)]


def test_a_stretch_too_short_for_a_pixel_is_marked_all_the_same():
    _, axes = figures.new_figure()
    timeline.draw_timeline(axes, [Stretch("sampling", 0.5, 1e-9)], 1.0)
    assert axes.patches[0].get_width() == pytest.approx(1.5)


def test_shares_add_up_to_the_whole_step():
    figure, axes = figures.new_figure()
    seconds = dict.fromkeys(timeline.KINDS, 0.0) | {"matrices": 0.03, "the rest": 0.01}
    timeline.draw_shares(axes, {"decode": seconds})
    assert {"75 %", "25 %", "decode"} <= set(texts(figure))
    assert sum(patch.get_width() for patch in axes.patches) == pytest.approx(100)


def test_steps_stand_where_they_were_measured():
    _, axes = figures.new_figure()
    points = [Reached(0.5, 4e9, "decode", "1"), Reached(1.0, 7e9, "decode", "2"), Reached(50, 80e9, "prefill", "64")]
    timeline.draw_reached(axes, Machine(100e9, 10e9, 1), points)
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["decode"] == [[0.5, 4.0], [1.0, 7.0]] and lines["prefill"] == [[50, 80]]
    roof = axes.lines[0].get_xydata().tolist()
    assert [10.0, 100.0] in roof, "the ridge: 100 GFLOP/s at 10 FLOPs a byte"
