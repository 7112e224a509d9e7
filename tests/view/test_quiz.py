"""A quiz: every answer says why."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pagedlab.errors import InvalidConfig
from pagedlab.view.quiz import Quiz

ANSWERS = {"<b>yes</b>": "because 1 < 2", "no": "it is not"}


def test_each_answer_folds_its_reason_and_all_text_is_escaped() -> None:
    html = ElementTree.fromstring(Quiz("Is 1 < 2?", ANSWERS, right="<b>yes</b>")._repr_html_())
    folds = html.findall("details")
    assert ["".join(fold.find("summary").itertext()) for fold in folds] == list(ANSWERS)  # type: ignore[union-attr]
    assert ["".join(fold.find("div").itertext()) for fold in folds] == [  # type: ignore[union-attr]
        "✓ Right. because 1 < 2",
        "✗ No. it is not",
    ]
    assert not html.findall(".//script")


def test_as_text_it_asks_and_does_not_tell() -> None:
    assert repr(Quiz("Is it?", {"yes": "sure", "no": "never"}, right="yes")) == "Is it?\na) yes\nb) no"


@pytest.mark.parametrize(
    ("answers", "right"), [({"yes": "sure", "no": ""}, "yes"), (ANSWERS, "perhaps"), ({"yes": "sure"}, "yes")]
)
def test_an_answer_without_a_reason_or_a_quiz_without_an_answer_is_refused(answers: dict[str, str], right: str) -> None:
    with pytest.raises(InvalidConfig):
        Quiz("?", answers, right=right)
