"""The quizzes of the course: each stands in its chapter, whose cells do not tell the answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pagedlab.errors import InvalidConfig
from pagedlab.learn.quizzes import QUIZZES, quiz

SOURCES = sorted((Path(__file__).parents[2] / "notebooks" / "src").glob("*.py"))


def test_every_quiz_stands_in_the_notebook_of_its_chapter_and_every_chapter_has_one():
    asked = {source.stem[:2]: re.findall(r'^quiz\("(.+)"\)$', source.read_text(), re.M) for source in SOURCES}
    assert sorted(name for names in asked.values() for name in names) == sorted(QUIZZES)
    assert all(name.startswith(chapter) for chapter, names in asked.items() for name in names)
    assert [chapter for chapter, names in asked.items() if not names and chapter != "00"] == []


def test_no_notebook_tells_an_answer_before_it_is_opened():
    for source in SOURCES:
        told = [
            reason for _, answers in QUIZZES.values() for reason in answers.values() if reason in source.read_text()
        ]
        assert told == [] and "Quiz(" not in source.read_text()


@pytest.mark.parametrize("name", QUIZZES)
def test_the_right_answer_is_the_one_named_first_wherever_it_stands_on_the_card(name):
    question, answers = QUIZZES[name]
    card = quiz(name)
    assert card.question == question and card.right == next(iter(answers))
    assert card.answers == answers and len(answers) >= 3
    assert repr(card) == repr(quiz(name)), "the same order for everybody"


def test_the_right_answer_does_not_always_stand_at_the_same_place():
    places = {list(quiz(name).answers).index(quiz(name).right) for name in QUIZZES}
    assert places >= {0, 1, 2}


def test_an_unknown_quiz_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidConfig, match=r"no quiz '99.nothing'; there are .*06.batch"):
        quiz("99.nothing")
