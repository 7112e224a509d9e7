"""Overview: the map of the course, and how far the learner has come on it."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import NamedTuple

from pagedlab.learn.exercise import CHAPTERS, Exercise, all_exercises
from pagedlab.learn.progress import Progress
from pagedlab.view.drawing import Box, Drawing, Line
from pagedlab.view.svg import SvgFigure


class Chapter(NamedTuple):
    idea: str
    place: tuple[float, int]  #: column and row on the map
    needs: tuple[str, ...]  #: the chapters it builds on


#: By number. The lines lead, over one chapter or several, to all whose exercises a chapter's own build on.
MAP = {
    "00": Chapter("watch a model's pages", (1.5, 0), ()),
    "01": Chapter("bytes, multiplied", (0.5, 1), ("00",)),
    "02": Chapter("5,288 against 424", (2.5, 1), ("00",)),
    "03": Chapter("logical rows, pages anywhere", (1.5, 2), ("01", "02")),
    "04": Chapter("a softmax over pages", (0, 3), ("03",)),
    "05": Chapter("one program per tile", (0, 4), ("04",)),
    "06": Chapter("two beasts", (1, 3), ("03",)),
    "07": Chapter("no phases, one budget", (2, 3), ("03",)),
    "08": Chapter("counts, copies, hashes, trees", (3, 3), ("03",)),
    "09": Chapter("weights are not the cache", (1, 4), ("06",)),
    "10": Chapter("serving is balance", (2, 4), ("06", "07")),
    "11": Chapter("one trace, five systems", (2.5, 5), ("07", "08")),
    "12": Chapter("shards, replicas, routers", (3, 4), ("08",)),
    "13": Chapter("yours serves the model", (0.5, 5), ("04", "07", "08")),
}

WIDTH, HEIGHT, ACROSS, DOWN = 200, 58, 216, 92
INK, PALE, DONE, PAPER = "#24292F", "#8C959F", "#0072B2", "#FFFFFF"


class Overview:
    """All chapters, what each is about, and how many of its exercises are solved. ``str`` gives it as text."""

    def __init__(self) -> None:
        self.progress = Progress.load()
        exercises = all_exercises().values()
        self.exercises = {name: list(group) for name, group in groupby(exercises, key=lambda one: one.chapter)}

    def solved(self, chapter: str) -> int:
        return sum(self.progress.is_solved(exercise.name) for exercise in self.exercises.get(chapter, []))

    @property
    def next(self) -> Exercise | None:
        """The first exercise that is not solved yet; None when all are."""
        left = (e for group in self.exercises.values() for e in group if not self.progress.is_solved(e.name))
        return next(left, None)

    def __str__(self) -> str:
        lines = []
        for chapter in CHAPTERS:
            exercises = self.exercises.get(chapter, [])
            bar = "●" * self.solved(chapter) + "○" * (len(exercises) - self.solved(chapter))
            name = f"{chapter[:2]} {chapter[3:].replace('_', ' ')}"
            lines.append(f"{name:<28} {bar:<8} {_hours(exercises)}".rstrip())
        return "\n".join([*lines, self._summary()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows, figures = [], ' style="text-align:left;white-space:nowrap"'
        for chapter in CHAPTERS:
            exercises, done = self.exercises.get(chapter, []), self.solved(chapter)
            bar = f'<progress max="{len(exercises)}" value="{done}" aria-label="{done} of {len(exercises)} solved">'
            name = escape(f"{chapter[:2]} {chapter[3:].replace('_', ' ')}")
            if exercises or chapter == CHAPTERS[0]:  # the others are not there yet
                name = f'<a href="{chapter}.ipynb">{name}</a>'
            rows.append(
                f'<tr><td style="text-align:left">{name}</td>'
                f'<td style="text-align:left">{escape(MAP[chapter[:2]].idea)}</td>'
                f"<td>{bar + '</progress>' if exercises else ''}</td>"
                f"<td{figures}>{f'{done} of {len(exercises)}' if exercises else ''}</td>"
                f"<td{figures}>{_hours(exercises)}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table><p>{escape(self._summary())}</p>"

    def _summary(self) -> str:
        number = sum(map(len, self.exercises.values()))
        done = sum(map(self.solved, self.exercises))
        text = f"{done} of {number} exercises solved"
        return text if self.next is None else f"{text}; the next: {self.next.name} · {self.next.title}"


def course_map() -> SvgFigure:
    """The chapters, and which builds on which, with what is solved of each."""
    overview = Overview()
    there = {chapter: overview.exercises.get(chapter, []) for chapter in CHAPTERS}
    edges = sum(len(chapter.needs) for chapter in MAP.values())
    drawing = Drawing(
        3 * ACROSS + WIDTH + 32,
        5 * DOWN + HEIGHT + 32,
        "Map of the course",
        f"{len(CHAPTERS)} chapters and {edges} lines from a chapter to those that build on it. {overview._summary()}.",
    )
    boxes = {number: box_of(chapter) for number, chapter in MAP.items()}
    ways = [line for n, c in MAP.items() for need in c.needs for line in _way(boxes[need], boxes[n])]
    drawing.lines(ways, PALE, 1.5, bend=True)
    drawing.boxes(boxes.values(), PAPER, radius=6, stroke=INK)
    for chapter in CHAPTERS:
        x, y, _, height = boxes[chapter[:2]]
        drawing.text(x + 10, y + 19, f"{chapter[:2]} {chapter[3:].replace('_', ' ')}", size=12, colour=INK, bold=True)
        drawing.text(x + 10, y + 35, MAP[chapter[:2]].idea, size=11, colour=INK)
        number, done = len(there[chapter]), overview.solved(chapter)
        for at in range(number):
            cell = (x + 10 + at * 12, y + height - 10, 9, 4)
            drawing.boxes([cell], DONE if at < done else PAPER, radius=1, stroke=DONE if at < done else PALE)
    return SvgFigure(drawing)


def box_of(chapter: Chapter) -> Box:
    column, row = chapter.place
    return 16 + column * ACROSS, 16 + row * DOWN, WIDTH, HEIGHT


def _way(above: Box, below: Box) -> list[Line]:
    """From one box down to another; past the rows between them through the gap between two columns."""
    x, y, right, bottom = above[0] + WIDTH / 2, above[1] + HEIGHT, below[0] + WIDTH / 2, below[1]
    way: list[Line] = []
    while bottom - y > DOWN:
        gap = x + (ACROSS / 2 if right > x else -ACROSS / 2)
        way += [(x, y, gap, y + DOWN - HEIGHT), (gap, y + DOWN - HEIGHT, gap, y + DOWN)]
        x, y = gap, y + DOWN
    return [*way, (x, y, right, bottom)]


def _hours(exercises: list[Exercise]) -> str:
    minutes = sum(exercise.minutes for exercise in exercises)
    return f"{minutes / 60:.1f} h" if minutes else ""
