"""Quiz: a question with some answers, each of which says why it is right or wrong once it is opened.

Plain HTML that folds: no script, no message to a kernel. It works from the keyboard, in a notebook, on a page made of
it, and with a screen reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from pagedlab.errors import InvalidConfig


class Quiz:
    """``answers``: each answer and the reason why it is right or wrong. ``right`` is the one that is.

    Raises InvalidConfig where ``right`` is no answer, or an answer has no reason.
    """

    def __init__(self, question: str, answers: Mapping[str, str], *, right: str) -> None:
        if right not in answers or len(answers) < 2:
            raise InvalidConfig(f"right={right!r} was asked for; it must be one of at least two answers")
        if missing := [answer for answer, reason in answers.items() if not reason.strip()]:
            raise InvalidConfig(f"the answer {missing[0]!r} has no reason; say why it is right or wrong")
        self.question, self.answers, self.right = question, dict(answers), right

    def __repr__(self) -> str:
        lines = [f"{letter}) {answer}" for letter, answer in zip("abcdefgh", self.answers, strict=False)]
        return "\n".join([self.question, *lines])

    def _repr_html_(self) -> str:
        rows = []
        for answer, reason in self.answers.items():
            is_right = answer == self.right
            sign, colour = ("✓ Right.", "#1a7f37") if is_right else ("✗ No.", "#bc4c00")
            rows.append(
                '<details style="margin:4px 0"><summary style="cursor:pointer">'
                f'{escape(answer)}</summary><div style="margin:2px 0 6px 18px">'
                f'<b style="color:{colour}">{sign}</b> {escape(reason)}</div></details>'
            )
        return (
            '<div style="border:1px solid #8250df;border-left-width:6px;border-radius:6px;padding:8px 14px;'
            f'max-width:860px;line-height:1.5"><div><b>Quiz</b> · {escape(self.question)}</div>{"".join(rows)}</div>'
        )
