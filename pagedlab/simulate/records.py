"""Records in text files that somebody else wrote: CSV with a header, JSON with an object a line, a list of objects.

What is read is what was asked for. What is not as it should be raises InvalidTrace, which names file, line and
column, says what is there, and what ought to be.
"""

from __future__ import annotations

import csv
import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from pagedlab.errors import InvalidTrace

#: A count of tokens beyond it is a mistake, and would take all memory.
MOST_TOKENS = 10_000_000
_MOST_SECONDS = 1e12
_MOST_CHARS = 1 << 24  # of a record
_CHUNK = 1 << 16
_NOT_WHITE = re.compile(r"[^ \t\r\n]")


@dataclass(frozen=True)
class Row:
    """A line and its named cells: text in CSV, anything in JSON."""

    path: Path
    line: int
    cells: Mapping[str, Any]

    def error(self, column: str, expected: str) -> InvalidTrace:
        there = reprlib.repr(self.cells[column]) if column in self.cells else "nothing"
        return InvalidTrace(self.path, self.line, column, f"there is {there}; it must be {expected}")

    def number(self, column: str, most: float = _MOST_SECONDS) -> float:
        value = self.cells.get(column)
        try:
            number = math.nan if isinstance(value, bool | None) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number <= most:
            raise self.error(column, f"a number from 0 to {most:.0f}")
        return number

    def count(self, column: str, most: int = MOST_TOKENS) -> int:
        number = self.number(column, most)
        if not number.is_integer():
            raise self.error(column, f"a whole number from 0 to {most}")
        return int(number)

    def text(self, column: str) -> str:
        value = self.cells.get(column)
        if not isinstance(value, str):
            raise self.error(column, "text")
        return value


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbers from 1 and lines with their ends, of UTF-8 with or without a byte order mark."""
    with _opened(path) as file:
        for number in count(1):
            line = file.readline(_MOST_CHARS)
            if not line:
                return
            if len(line) == _MOST_CHARS:
                raise InvalidTrace(path, number, "", f"it has {_MOST_CHARS} characters or more; break it into lines")
            _refuse_other_encodings(path, number, line)
            yield number, line


def csv_rows(path: Path, *columns: str, optional: tuple[str, ...] = ()) -> Iterator[Row]:
    """Rows with ``columns``, which the header must name, and those of ``optional`` that it does name."""
    reader = csv.reader(line for _, line in text_lines(path))
    try:
        header = [name.strip() for name in next(reader, [])]
        for column in columns:
            if column not in header:
                named = repr(", ".join(header)[:100])
                raise InvalidTrace(path, 1, column, f"the header names {named}; it must name this column too")
        places = {column: header.index(column) for column in (*columns, *optional) if column in header}
        for cells in reader:
            if cells:  # the line is not empty
                found = {column: cells[place] for column, place in places.items() if place < len(cells)}
                yield Row(path, reader.line_num, found)
    except csv.Error as error:
        raise InvalidTrace(path, reader.line_num, "", f"it is not CSV ({error})") from error


def json_rows(path: Path) -> Iterator[Row]:
    """The object on each line. Empty lines are none."""
    for number, line in text_lines(path):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidTrace(path, number, "", f"it is not JSON ({error})") from error
            yield Row(path, number, _as_object(path, number, value))


def json_list(path: Path) -> Iterator[Row]:
    """The objects of the list that the whole file is; ``line`` is where one begins."""
    with _opened(path) as file:
        window = _Window(path, file)
        mark = window.take("[")
        if window.peek() == "]":
            mark = window.take("]")
        while mark != "]":
            window.peek()
            line, value = window.line, window.take_value()
            yield Row(path, line, _as_object(path, line, value))
            mark = window.take(",]")
        if window.peek():
            raise window.error("there is more after the end of the list; it must be the whole file")


class _Window:
    """What of a file of JSON is in memory, and a place in it."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.text, self.at, self.line = "", 0, 1
        self.decoder = json.JSONDecoder()

    def error(self, problem: str) -> InvalidTrace:
        return InvalidTrace(self.path, self.line, "", problem)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            found = _NOT_WHITE.search(self.text, self.at)
            self._move_to(found.start() if found else len(self.text))
            if found:
                return found.group()
            if not self._grow():
                return ""

    def take(self, allowed: str) -> str:
        character = self.peek()
        if not character or character not in allowed:
            there = repr(character) if character else "the end"
            raise self.error(f"there is {there}; a list [{{…}}, {{…}}, …] must go on with one of {' '.join(allowed)}")
        self._move_to(self.at + 1)
        return character

    def take_value(self) -> Any:
        while True:
            try:
                value, stop = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > _MOST_CHARS or not self._grow():
                    self._move_to(error.pos)
                    raise self.error(f"it is not JSON ({error.msg})") from error
            except (ValueError, RecursionError) as error:
                raise self.error(f"it is not JSON ({error})") from error
            else:
                self._move_to(stop)
                return value

    def _move_to(self, place: int) -> None:
        self.line += self.text.count("\n", self.at, place)
        self.at = place

    def _grow(self) -> bool:
        """Twice as much is seen; what lies behind is forgotten. False at the end of the file."""
        self.text, self.at = self.text[self.at :], 0
        more = self.file.read(max(_CHUNK, len(self.text)))
        _refuse_other_encodings(self.path, self.line + self.text.count("\n"), more)
        self.text += more
        return bool(more)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            yield file
    except OSError as error:
        raise InvalidTrace(path, 0, "", f"it cannot be read ({error.strerror}); give the path of a file") from error


def _refuse_other_encodings(path: Path, line: int, text: str) -> None:
    """Bytes that are not UTF-8 have become surrogates, so that the line that has them can be named."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line += text.count("\n", 0, error.start)
        raise InvalidTrace(path, line, "", "it has bytes that are not UTF-8; convert the file") from error


def _as_object(path: Path, line: int, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidTrace(path, line, "", f"there is {reprlib.repr(value)}; it must be an object, {{…}}")
    return value
