"""Card: what a learner sees of a check, in a notebook as HTML and elsewhere as text. Never a raw traceback."""

from __future__ import annotations

from html import escape

from pagedlab.learn.exercise import Exercise
from pagedlab.learn.rows import rows_drawing, rows_text
from pagedlab.learn.verdict import Failure, Outcome, Verdict

#: What heads a card, and its sign: no meaning hangs on colour alone.
HEADS = {
    Outcome.PASSED: ("✓", "solved", "#1a7f37"),
    Outcome.UNWRITTEN: ("○", "not written yet", "#57606a"),
    Outcome.WRONG: ("✗", "not right yet", "#bc4c00"),
    Outcome.RAISED: ("✗", "your code raises an error", "#bc4c00"),
    Outcome.ENDLESS: ("✗", "your code does not come back", "#bc4c00"),
    Outcome.GREEDY: ("✗", "your code takes too much memory", "#bc4c00"),
    Outcome.DIED: ("✗", "your code ended its own process", "#bc4c00"),
}


class Card:
    """The verdict on one exercise. ``str(card)`` is its text; notebooks show its HTML."""

    def __init__(self, exercise: Exercise, verdict: Verdict) -> None:
        self.exercise, self.verdict = exercise, verdict

    @property
    def passed(self) -> bool:
        return self.verdict.outcome is Outcome.PASSED

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        sign, head, _ = HEADS[self.verdict.outcome]
        lines = [f"{sign} {self.exercise.name} · {self.exercise.title}: {head}"]
        lines += [f"  ✓ {rule}" for rule in self.verdict.passed]
        if self.verdict.failure is not None:
            lines.append(f"  {sign} {self.verdict.failure.rule}")
            lines += [f"    {name:<9} {text}" for name, text in facts(self.verdict.failure)]
            lines += [f"    {line}" for line in rows_text(self.verdict.failure)]
        if self.verdict.printed:
            lines += ["  your code printed:", *(f"    {line}" for line in self.verdict.printed.splitlines())]
        return "\n".join([*lines, *(f"  {line}" for line in self.next_steps())])

    def next_steps(self) -> list[str]:
        steps = [f"{name} is not solved yet: ours stands in" for name in self.verdict.stand_ins]
        if self.passed:
            return [*steps, f"compare: exercises/solutions/{self.exercise.file}"]
        return [*steps, f"file: exercises/{self.exercise.file} · hints: pagedlab learn hint {self.exercise.name}"]

    def _repr_html_(self) -> str:
        sign, head, colour = HEADS[self.verdict.outcome]
        parts = [
            f'<div style="border:1px solid {colour};border-left-width:6px;border-radius:6px;padding:8px 14px;'
            'max-width:860px;line-height:1.5">',
            f'<div><b style="color:{colour}">{sign} {escape(head)}</b> · <b>{escape(self.exercise.name)}</b> '
            f"{escape(self.exercise.title)} · {'●' * self.exercise.difficulty}{'○' * (3 - self.exercise.difficulty)} · "
            f"{self.exercise.minutes} min</div>",
        ]
        parts += [f"<div>✓ {escape(rule)}</div>" for rule in self.verdict.passed]
        if self.verdict.failure is not None:
            parts.append(_failure_html(sign, self.verdict.failure))
        if self.verdict.printed:
            parts.append(f"<div>your code printed:</div><pre>{escape(self.verdict.printed)}</pre>")
        parts += [f"<div><small>{escape(step)}</small></div>" for step in self.next_steps()]
        if not self.passed:
            parts.append(_ladder(self.exercise.hints))
        return "\n".join([*parts, "</div>"])


def facts(failure: Failure) -> list[tuple[str, str]]:
    """What there is to say, with its name before it."""
    said = [
        ("case", failure.case),
        ("expected", failure.expected),
        ("yours", failure.actual),
        ("because", failure.message),
        ("line", "" if failure.line is None else str(failure.line)),
    ]
    return [(name, text) for name, text in said if text]


def _failure_html(sign: str, failure: Failure) -> str:
    rows = "".join(
        f'<tr><td style="text-align:left;vertical-align:top"><b>{name}</b></td>'
        f'<td style="text-align:left"><code>{escape(text)}</code></td></tr>'
        for name, text in facts(failure)
    )
    drawing = rows_drawing(failure)
    picture = "" if drawing is None else f"<div>{drawing.svg()}</div>"
    return f"<div>{sign} <b>{escape(failure.rule)}</b></div><table>{rows}</table>{picture}"


def _ladder(hints: tuple[str, ...]) -> str:
    """Each hint is folded away within the one before."""
    html = ""
    for number, hint in reversed(list(enumerate(hints, start=1))):
        html = f"<details><summary>Hint {number} of {len(hints)}</summary><pre>{escape(hint)}</pre>{html}</details>"
    return html
