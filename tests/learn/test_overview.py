"""The map of the course, and how far somebody has come on it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pagedlab.learn import workbook
from pagedlab.learn.exercise import CHAPTERS, all_exercises
from pagedlab.learn.overview import MAP, Overview, course_map
from pagedlab.learn.progress import record_check


def before(number: str) -> set[str]:
    """All chapters that lie on a way to this one."""
    return {*MAP[number].needs, *(earlier for need in MAP[number].needs for earlier in before(need))}


def test_the_map_has_every_chapter_once_and_its_lines_lead_down() -> None:
    assert [chapter[:2] for chapter in CHAPTERS] == list(MAP)
    assert len({chapter.place for chapter in MAP.values()}) == len(MAP)
    for chapter in MAP.values():
        assert all(MAP[need].place[1] < chapter.place[1] for need in chapter.needs)


@pytest.mark.parametrize("name", [name for name, exercise in all_exercises().items() if exercise.after])
def test_what_an_exercise_builds_on_lies_before_its_chapter(name: str) -> None:
    chapters = {earlier[:2] for earlier in all_exercises()[name].after} - {name[:2]}
    assert chapters <= before(name[:2])


def test_what_was_solved_is_counted_and_the_next_is_named(book: object) -> None:
    names = list(all_exercises())
    assert Overview().next == all_exercises()[names[0]]
    assert f"0 of {len(names)} exercises solved" in str(Overview())
    record_check(names[0], workbook.source_of_solution(all_exercises()[names[0]]), True)
    overview = Overview()
    assert f"1 of {len(names)} exercises solved; the next: {names[1]}" in str(overview)
    assert "1 of" in overview._repr_html_() and 'value="1"' in overview._repr_html_()
    for name in names:
        record_check(name, "", True)
    assert Overview().next is None


def test_the_map_is_a_picture_with_a_text(book: object) -> None:
    picture = ElementTree.fromstring(str(course_map()))
    assert "14 chapters" in course_map().alt
    words = "".join(picture.itertext())
    assert all(chapter[3:].replace("_", " ") in words for chapter in CHAPTERS)
    assert str(course_map()) == str(course_map())
