"""ShareGPT: conversations that people had with a chat model, with their texts, and without their times.

JSON: a list of ``{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}``. The file is
read as it is needed, one conversation after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from zlib import crc32

from pagedlab.scheduling.load import Offer
from pagedlab.simulate.arrivals import Arrivals, Poisson, require_positive
from pagedlab.simulate.records import Row, json_list
from pagedlab.simulate.session import Turn, in_turn, offer_of

#: Whose words are answers. Everybody else's, those of the system too, are what is answered.
MODELS = frozenset(("gpt", "chatgpt", "assistant", "bing", "bard"))


def by_words(text: str) -> list[int]:
    """A stand-in for a tokenizer: a token a word, between spaces. Equal words are equal tokens."""
    return [crc32(word.encode()) for word in text.split()]


@dataclass(frozen=True)
class ShareGPT:
    """Conversations as sessions. ``tokenize`` makes token ids of a message; no chat template is applied.

    What was said before an answer is one prompt, whoever said it; what was said after the last one is left out, and so
    are conversations without any.
    """

    path: str | Path
    arrivals: Arrivals = Poisson(1.0)  # noqa: RUF009 (frozen)
    tokenize: Callable[[str], Sequence[int]] = by_words
    think_seconds: float = 10.0  #: mean of an exponential, from an answer to the next question: an assumption

    def __post_init__(self) -> None:
        require_positive(think_seconds=self.think_seconds)

    def offers(self, seed: int = 0, sessions: int | None = None, first_text: int = 0) -> Iterator[Offer]:
        """As those of a Workload (``pagedlab.simulate.workload``); texts are the file's, ``first_text`` is not needed.

        Raises InvalidTrace when it comes to a conversation that is not in the format.
        """
        random = Random(f"sessions {seed}")
        talks = filter(None, (self._turns(row, random) for row in json_list(Path(self.path))))
        moments = islice(self.arrivals.moments(seed), sessions)
        for number, (at, turns) in enumerate(zip(moments, talks, strict=False)):
            yield offer_of(in_turn(turns), at, session=f"sharegpt-{number}", kind="sharegpt")

    def _turns(self, row: Row, random: Random) -> list[Turn]:
        turns: list[Turn] = []
        words: list[int] = []
        for speaker, said in _messages(row):
            tokens = self.tokenize(said)
            if speaker in MODELS and words and tokens:
                turns.append(Turn(words, tokens, delay=random.expovariate(1 / self.think_seconds)))
                words = []
            else:
                words.extend(tokens)
        return turns


def _messages(row: Row) -> Iterator[tuple[str, str]]:
    """Who said it, and what, in characters that a tokenizer can encode."""
    messages = row.cells.get("conversations")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise row.error("conversations", 'a list of {"from": …, "value": …}')
    for message in messages:
        said = Row(row.path, row.line, message)
        yield said.text("from"), said.text("value").encode(errors="replace").decode()
