"""Judge: what a check uses to say what should hold, and to keep the smallest case in which it does not.

    with judge.rule("a page that comes back goes to the end of the queue"):
        queue.give_back(1)
        judge.equal(queue.pages(), [2, 3, 1], case="taken 0 and 1, given back 1")

Random cases come from hypothesis, which shrinks the first one that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pagedlab.learn.verdict import Failure, Row

MOST_TEXT = 300  #: characters of a value on a card

#: Label -> cells.
Rows = Mapping[str, Sequence[Any]]


class Mismatch(Exception):
    """Something else came out than should have."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.rule)


class Judge:
    """Collects the rules that held. The first that does not ends the check."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.stand_ins: list[str] = []
        self.current = "the file can be loaded"  #: the rule that is being tried
        self.case = ""  #: what is being tried

    @contextmanager
    def rule(self, text: str) -> Iterator[None]:
        """What is checked in this block, as a sentence."""
        self.current, self.case = text, ""
        yield
        self.passed.append(text)

    def trying(self, case: str) -> None:
        """What comes next, for the card of an error that the learner's code raises."""
        self.case = case

    def equal(
        self,
        actual: Any,
        expected: Any,
        *,
        case: str = "",
        why: str = "",
        expected_rows: Rows | None = None,
        actual_rows: Rows | None = None,
    ) -> None:
        """``case`` says what was tried. Rows are drawn one above the other, with what differs marked."""
        if not _same(actual, expected):
            self.wrong(
                expected=shown(expected),
                actual=shown(actual),
                case=case,
                why=why,
                expected_rows=expected_rows,
                actual_rows=actual_rows,
            )

    def row(self, actual: Any, expected: Sequence[Any], case: str = "", label: str = "free queue") -> None:
        """A list of pages, slots or queue entries: drawn under ``label`` where it differs."""
        found = list(actual) if isinstance(actual, (list, tuple)) else [actual]
        self.equal(actual, expected, case=case, expected_rows={label: expected}, actual_rows={label: found})

    def close(self, actual: Any, expected: Any, *, within: float = 1e-5, case: str = "", why: str = "") -> None:
        """For numbers, and for tensors, which must have the same shape. ``within`` is relative to the largest."""
        import torch

        expected = torch.as_tensor(expected, dtype=torch.float64)
        try:
            found = torch.as_tensor(actual, dtype=torch.float64).detach()
        except (TypeError, ValueError, RuntimeError):
            self.wrong(expected=f"numbers of shape {tuple(expected.shape)}", actual=shown(actual), case=case, why=why)
        if found.shape != expected.shape:
            self.wrong(
                expected=f"shape {tuple(expected.shape)}", actual=f"shape {tuple(found.shape)}", case=case, why=why
            )
        off = (found - expected).abs().masked_fill(found == expected, 0.0)  # equal infinities are equal
        off = off.nan_to_num(nan=float("inf"))
        largest = expected[expected.isfinite()].abs().max() if expected.isfinite().any() else 0.0
        if off.numel() and float(off.max()) > within * max(1.0, float(largest)):
            place = tuple(int(index) for index in (off == off.max()).nonzero()[0])
            at = f" at {list(place)}" if place else ""
            self.wrong(
                expected=f"{float(expected[place]):.6g}{at}",
                actual=f"{float(found[place]):.6g}{at}",
                case=case,
                why=why,
            )

    def true(self, holds: object, *, actual: Any, expected: str, case: str = "", why: str = "") -> None:
        """For what has more than one right answer: ``expected`` describes it."""
        if not holds:
            self.wrong(expected=expected, actual=shown(actual), case=case, why=why)

    def raises(self, kind: type[BaseException], call: Callable[[], Any], *, case: str = "", why: str = "") -> None:
        try:
            answer = call()
        except kind:
            return
        self.wrong(expected=f"{kind.__name__} is raised", actual=f"{shown(answer)} came back", case=case, why=why)

    def wrong(
        self,
        *,
        expected: str,
        actual: str,
        case: str = "",
        why: str = "",
        expected_rows: Rows | None = None,
        actual_rows: Rows | None = None,
    ) -> None:
        """End the check here."""
        raise Mismatch(
            Failure(
                rule=self.current,
                case=case or self.case,
                expected=expected,
                actual=actual,
                message=why,
                expected_rows=_rows(expected_rows),
                actual_rows=_rows(actual_rows),
            )
        )

    def prove(self, claim: Callable[..., None], *strategies: Any, examples: int = 100) -> None:
        """``claim`` of many random inputs, drawn from hypothesis strategies; the smallest that fails is shown."""
        import hypothesis

        settings = hypothesis.settings(
            max_examples=examples,
            database=None,
            derandomize=True,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        settings(hypothesis.given(*strategies)(claim))()


def shown(value: Any) -> str:
    """``value`` as a card shows it: not too long, and without failing."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"something whose repr raises {type(error).__name__}"
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def _same(actual: Any, expected: Any) -> bool:
    """Equal, and both or neither of them a truth value: True is not 1 here."""
    try:
        return bool(actual == expected) and isinstance(actual, bool) == isinstance(expected, bool)
    except Exception:
        return False


def _rows(rows: Rows | None) -> list[Row]:
    return [Row(label, [str(cell) for cell in cells]) for label, cells in (rows or {}).items()]
