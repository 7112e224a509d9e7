"""Traces: what public services recorded of their load, replayed. Files are read line by line, as their time comes.

The formats know lengths, not texts: a prompt is a text of its own, but for the blocks of it that have names (Mooncake).
Rows without a token of prompt or of answer are requests that failed: they are left out. Whatever else is not in the
format raises InvalidTrace.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import ClassVar, NamedTuple

from pagedlab.errors import InvalidQuantity, InvalidTrace
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.arrivals import require_positive
from pagedlab.simulate.content import SHELF, Library, text
from pagedlab.simulate.records import Row, csv_rows, json_rows


class Record(NamedTuple):
    line: int
    moment: float  #: seconds, from any zero
    num_prompt: int
    num_output: int
    session: str = ""
    beginning: Sequence[int] = ()  #: of the prompt: tokens that others may have too


@dataclass(frozen=True)
class Trace(ABC):
    """A file of records. Its clock starts at 0 with the first of them; ``start`` seconds of it are skipped, and what is
    left comes ``speed`` times as fast.
    """

    path: str | Path
    start: float = 0.0
    speed: float = 1.0

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        require_positive(speed=self.speed)
        if not 0 <= self.start < math.inf:
            raise InvalidQuantity(f"start={self.start} was asked for; it must be finite and not negative")

    def offers(self, seed: int = 0, sessions: int | None = None, first_text: int = 0) -> Iterator[Offer]:
        """As those of a Workload (``pagedlab.simulate.workload``): ``sessions`` requests at most. Nothing is drawn.

        Raises InvalidTrace when it comes to a line that is not in the format, or is earlier than the one before it.
        """
        return islice(self._offers(first_text), sessions)

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """All that the file holds, in its order."""

    def _offers(self, next_text: int) -> Iterator[Offer]:
        first = last = None
        for record in self.records():
            first = record.moment if first is None else first
            if last is not None and record.moment < last:
                problem = "it is earlier than the line before it; sort the file by time"
                raise InvalidTrace(Path(self.path), record.line, "", problem)
            last = record.moment
            at = (record.moment - first - self.start) / self.speed
            if at >= 0 and record.num_prompt and record.num_output:
                prompt = [*record.beginning[: record.num_prompt]]
                if len(prompt) < record.num_prompt:
                    prompt += text(next_text, record.num_prompt - len(prompt))
                    next_text += 1
                yield Offer(at, prompt, record.num_output, session=record.session, kind=self.kind)


class Azure(Trace):
    """Azure LLM inference traces of 2023 (Patel et al. 2024, Splitwise) and 2024 (Stojkovic et al. 2024, DynamoLLM).

    CSV: ``TIMESTAMP``, with an offset from UTC or without, read to the microsecond; ``ContextTokens``;
    ``GeneratedTokens``.
    """

    kind = "azure"

    def records(self) -> Iterator[Record]:
        for row in csv_rows(Path(self.path), "TIMESTAMP", "ContextTokens", "GeneratedTokens"):
            yield Record(row.line, _seconds(row), row.count("ContextTokens"), row.count("GeneratedTokens"))


#: Near enough that a float of seconds since then resolves microseconds.
_EPOCH = datetime(2023, 1, 1, tzinfo=UTC)


def _seconds(row: Row) -> float:
    try:
        moment = datetime.fromisoformat(row.text("TIMESTAMP").strip())
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
    except (ValueError, OverflowError) as error:
        raise row.error("TIMESTAMP", "a moment such as 2023-11-16 18:15:46.6805900") from error


class BurstGPT(Trace):
    """BurstGPT (Wang et al. 2024, arXiv 2401.17644).

    CSV: ``Timestamp`` in seconds, ``Request tokens``, ``Response tokens``, and in later releases ``Session ID``; other
    columns are not needed. What the requests of a session have in common is not in the file.
    """

    kind = "burstgpt"

    def records(self) -> Iterator[Record]:
        columns = "Timestamp", "Request tokens", "Response tokens"
        for row in csv_rows(Path(self.path), *columns, optional=("Session ID",)):
            moment, num_prompt, num_output = row.number(columns[0]), row.count(columns[1]), row.count(columns[2])
            yield Record(row.line, moment, num_prompt, num_output, row.cells.get("Session ID", ""))


@dataclass(frozen=True)
class Mooncake(Trace):
    """Traces of Mooncake (Qin et al. 2025, FAST), and others in their format.

    JSON, an object a line: ``timestamp`` in milliseconds, ``input_length``, ``output_length``, and ``hash_ids``, one
    for each block of ``block_size`` tokens, the last of which may be begun: equal ids are equal tokens. What is beyond
    the last id is a text of its own.
    """

    block_size: int = 512

    kind = "mooncake"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(block_size=self.block_size)

    def records(self) -> Iterator[Record]:
        for row in json_rows(Path(self.path)):
            moment = row.number("timestamp") / 1000
            num_prompt, num_output = row.count("input_length"), row.count("output_length")
            yield Record(row.line, moment, num_prompt, num_output, beginning=self._blocks(row, num_prompt))

    def _blocks(self, row: Row, num_prompt: int) -> list[int]:
        ids = row.cells.get("hash_ids", [])
        most = -(-num_prompt // self.block_size)
        if not isinstance(ids, list) or len(ids) > most:
            raise row.error("hash_ids", f"a list of {most} numbers at most, one for each {self.block_size} tokens")
        tokens: list[int] = []
        for number in ids:
            if not isinstance(number, int) or not 0 <= number < SHELF:
                raise row.error("hash_ids", f"a list of whole numbers from 0 to {SHELF - 1}")
            tokens += text(Library.BLOCKS.number(number), self.block_size)
        return tokens


TRACES: Mapping[str, type[Trace]] = {trace.kind: trace for trace in (Azure, BurstGPT, Mooncake)}
