"""Workloads: who asks for what. Each draws sessions from a seed, one at a time, as their time comes.

All that is random in a session is drawn when it begins, its later turns and branches too: a slow server and a fast one
get the same load, however the sessions are interleaved on them.
"""

# ruff: noqa: RUF009 (what is called in defaults makes frozen values, safe to share)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from random import Random
from typing import NamedTuple

from pagedlab.scheduling.load import Offer
from pagedlab.simulate.arrivals import Arrivals, Diurnal, OnOff, Poisson, require_positive
from pagedlab.simulate.content import Library, text
from pagedlab.simulate.lengths import Constant, Distribution, Geometric, LogNormal, Uniform, Zipf
from pagedlab.simulate.session import Turn, in_turn, offer_of


class Source:
    """What the sessions of one stream draw from: chance, and numbers for texts that are nobody else's."""

    def __init__(self, seed: int, first_text: int) -> None:
        self.random = Random(f"sessions {seed}")  # the arrivals' chance has the seed itself
        self._texts = count(first_text)

    def new_text(self, length: int) -> list[int]:
        return text(next(self._texts), length)

    def seconds(self, mean: float) -> float:
        """Of an exponential distribution."""
        return self.random.expovariate(1 / mean)


@dataclass(frozen=True, kw_only=True)
class Workload(ABC):
    arrivals: Arrivals = Poisson(1.0)  #: of sessions; each is one request or more

    def offers(self, seed: int = 0, sessions: int | None = None, first_text: int = 0) -> Iterator[Offer]:
        """The first request of each session, in order of ``at``; what comes after it is asked for by its ``then``.

        Lazy, and without end where ``sessions`` is None. Token ids are from 0 to ``content.MOST_TOKENS`` - 1. Streams
        that are served together need texts of their own: give each a ``first_text`` far from the others'.
        """
        source = Source(seed, first_text)
        for number, at in enumerate(islice(self.arrivals.moments(seed), sessions)):
            yield self.session(source, at, number)

    @abstractmethod
    def session(self, source: Source, at: float, number: int) -> Offer:
        """The first request of session ``number``, due at ``at``."""


@dataclass(frozen=True, kw_only=True)
class Chat(Workload):
    """Conversations: one of a few system prompts, then turns that each carry all that was said before.

    Published: means of 161 tokens asked and 338 answered (ShareGPT, as in figure 11 of Kwon et al. 2023, arXiv
    2309.06180); 2.0 turns (LMSYS-Chat-1M, table 1 of Zheng et al. 2023, arXiv 2309.11998). Assumed: how these spread,
    the system prompts with their lengths and popularity, and the time to read and type.
    """

    systems: Zipf = Zipf(16)  #: which system prompt
    system_tokens: Distribution = LogNormal(400, 0.8, high=2048)
    turns: Distribution = Geometric(2.0, high=64)
    words: Distribution = LogNormal.of_mean(161, 1.0, high=2048)
    answer: Distribution = LogNormal.of_mean(338, 1.0, high=2048)
    think_seconds: float = 10.0  #: mean of an exponential, from an answer to the next question

    def __post_init__(self) -> None:
        require_positive(think_seconds=self.think_seconds)

    @cached_property
    def _systems(self) -> list[list[int]]:
        return shared_texts(Library.SYSTEM_PROMPTS, self.systems.count, self.system_tokens)

    def session(self, source: Source, at: float, number: int) -> Offer:
        random = source.random
        system = self._systems[self.systems.draw(random)]
        turns = [self._turn(source) for _ in range(self.turns.draw(random))]
        return offer_of(in_turn(turns), at, system, f"chat-{number}", "chat")

    def _turn(self, source: Source) -> Turn:
        words, answer = self.words.draw(source.random), self.answer.draw(source.random)
        delay = source.seconds(self.think_seconds)
        return Turn(source.new_text(words), source.new_text(answer), delay=delay)


@dataclass(frozen=True, kw_only=True)
class Documents(Workload):
    """Questions about long documents, some of which are asked about more often than others.

    Published: means of 7,590 tokens of input and 182 of output (the trace of Qin et al. 2024, arXiv 2407.00079).
    Assumed: the rest, and that all but the question is the document.
    """

    documents: Zipf = Zipf(1000, 0.8)  #: which document
    document_tokens: Distribution = LogNormal.of_mean(7_540, 0.8, high=100_000)
    question: Distribution = LogNormal.of_mean(50, 0.5, high=512)
    answer: Distribution = LogNormal.of_mean(182, 0.8, high=4096)

    @cached_property
    def _lengths(self) -> list[int]:
        return shared_lengths(self.documents.count, self.document_tokens)

    def session(self, source: Source, at: float, number: int) -> Offer:
        random = source.random
        index = self.documents.draw(random)
        document = text(Library.DOCUMENTS.number(index), self._lengths[index])
        question = source.new_text(self.question.draw(random))
        return Offer(at, document + question, self.answer.draw(random), session=f"document-{index}", kind="document")


@dataclass(frozen=True, kw_only=True)
class FewShot(Workload):
    """A template of worked examples, then a question of the same kind, and a short answer.

    Published: 57 subjects, each with a template of its own (MMLU, Hendrycks et al. 2021, arXiv 2009.03300). Assumed:
    lengths and popularity.
    """

    templates: Zipf = Zipf(57, 0.0)  #: which template
    template_tokens: Distribution = LogNormal(600, 0.5, high=4096)
    question: Distribution = LogNormal(80, 0.6, high=1024)
    answer: Distribution = Uniform(1, 16)

    @cached_property
    def _templates(self) -> list[list[int]]:
        return shared_texts(Library.TEMPLATES, self.templates.count, self.template_tokens)

    def session(self, source: Source, at: float, number: int) -> Offer:
        random = source.random
        index = self.templates.draw(random)
        question = source.new_text(self.question.draw(random))
        prompt = self._templates[index] + question
        return Offer(at, prompt, self.answer.draw(random), session=f"template-{index}", kind="few-shot")


@dataclass(frozen=True, kw_only=True)
class Agents(Workload):
    """Agents that try several things: each answer is followed by as many branches, which see all on the path to them.

    The shape is that of a tree of thoughts (Yao et al. 2023, arXiv 2305.10601). Assumed: all numbers.
    """

    toolboxes: Zipf = Zipf(4)  #: which description of tools stands first
    toolbox_tokens: Distribution = LogNormal(1500, 0.4, high=8192)
    task: Distribution = LogNormal(200, 0.8, high=2048)
    observation: Distribution = LogNormal(150, 1.0, high=2048)  #: what a tool says, or another thought to try
    answer: Distribution = LogNormal(120, 0.7, high=1024)
    branches: Distribution = Uniform(1, 3)
    depth: Distribution = Constant(4)  #: requests on a path from the task to a leaf
    tool_seconds: float = 1.0  #: mean of an exponential, from an answer to each of its branches

    def __post_init__(self) -> None:
        require_positive(tool_seconds=self.tool_seconds)

    @cached_property
    def _toolboxes(self) -> list[list[int]]:
        return shared_texts(Library.TOOLS, self.toolboxes.count, self.toolbox_tokens)

    def session(self, source: Source, at: float, number: int) -> Offer:
        toolbox = self._toolboxes[self.toolboxes.draw(source.random)]
        tree = self._grow(source, self.task, self.depth.draw(source.random))
        return offer_of(tree, at, toolbox, f"agent-{number}", "agent")

    def _grow(self, source: Source, words: Distribution, depth: int) -> Turn:
        random = source.random
        branches = self.branches.draw(random) if depth > 1 else 0
        return Turn(
            source.new_text(words.draw(random)),
            source.new_text(self.answer.draw(random)),
            [self._grow(source, self.observation, depth - 1) for _ in range(branches)],
            source.seconds(self.tool_seconds),
        )


@dataclass(frozen=True, kw_only=True)
class Sampling(Workload):
    """Several answers to one prompt, to choose from: the prompt's pages are shared, and each answer has its own.

    Published: n of 2, 4 and 6 (section 6.3 of Kwon et al. 2023, arXiv 2309.06180), and lengths as in :class:`Chat`.
    """

    n: int = 4
    words: Distribution = LogNormal.of_mean(161, 1.0, high=2048)
    answer: Distribution = LogNormal.of_mean(338, 1.0, high=2048)

    def __post_init__(self) -> None:
        require_positive(n=self.n)

    def session(self, source: Source, at: float, number: int) -> Offer:
        random = source.random
        prompt = source.new_text(self.words.draw(random))
        return Offer(at, prompt, self.answer.draw(random), n=self.n, session=f"sample-{number}", kind="sampling")


def shared_lengths(number: int, lengths: Distribution) -> list[int]:
    """Of texts that many share: they are the workload's, and the same whatever the seed."""
    random = Random(0)
    return [lengths.draw(random) for _ in range(number)]


def shared_texts(library: Library, number: int, lengths: Distribution) -> list[list[int]]:
    return [text(library.number(index), length) for index, length in enumerate(shared_lengths(number, lengths))]


class Named(NamedTuple):
    about: str
    make: Callable[[float], Workload]  #: for so many sessions a second


WORKLOADS: Mapping[str, Named] = {
    "chat": Named("conversations that share system prompts", lambda rate: Chat(arrivals=Poisson(rate))),
    "documents": Named("questions about long documents", lambda rate: Documents(arrivals=Poisson(rate))),
    "few-shot": Named("templates of examples, short answers", lambda rate: FewShot(arrivals=Poisson(rate))),
    "agents": Named("agents whose answers branch into a tree", lambda rate: Agents(arrivals=Poisson(rate))),
    "sampling": Named("four answers to each prompt", lambda rate: Sampling(arrivals=Poisson(rate))),
    "bursts": Named("chat that comes in bursts", lambda rate: Chat(arrivals=OnOff(rate))),
    "diurnal": Named("chat by day and by night", lambda rate: Chat(arrivals=Diurnal(rate))),
}
