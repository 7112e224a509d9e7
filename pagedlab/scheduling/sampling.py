"""SamplingParams: how a request wants its tokens chosen and when it wants to stop. Plain data, checked on creation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pagedlab.errors import InvalidRequest

#: Called with a sequence's output tokens so far and the logits ``[vocab]`` of the next one, a tensor of its own;
#: returns logits of the same shape. A processor that raises ends its own request and no other.
LogitsProcessor = Callable[[list[int], Any], Any]

#: Ways to say what the text must look like; a request uses one of them at most.
CONSTRAINTS = ("json_schema", "regex", "choice", "grammar")


@dataclass(frozen=True)
class SamplingParams:
    """Names and defaults are vLLM's. Impossible values raise InvalidRequest."""

    n: int = 1  #: sequences sampled from one prompt
    beam_width: int | None = None  #: beam search: so many of the likeliest sequences are kept, and returned
    max_tokens: int | None = 16  #: new tokens a sequence may have; None: as many as the context holds
    min_tokens: int = 0  #: no end-of-sequence or stop before so many new tokens
    temperature: float = 1.0  #: 0 is greedy
    top_k: int = 0  #: keep the k likeliest tokens; 0 keeps all
    top_p: float = 1.0  #: keep the likeliest tokens that together reach this probability
    min_p: float = 0.0  #: drop tokens less likely than this share of the likeliest one
    repetition_penalty: float = 1.0  #: > 1 makes tokens of prompt and output less likely
    presence_penalty: float = 0.0  #: subtracted once from the logit of every token already in the output
    frequency_penalty: float = 0.0  #: subtracted for every time the token stands in the output
    length_penalty: float = 1.0  #: beams are ranked by log probability / length ** this
    logit_bias: Mapping[int, float] | None = None  #: added to the logits of these tokens
    stop: str | Sequence[str] = ()  #: the text ends before the first of these strings
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    json_schema: Mapping[str, Any] | str | None = None  #: the text is JSON that this schema allows
    regex: str | None = None  #: the whole text matches this pattern (Rust's dialect)
    choice: Sequence[str] | None = None  #: the text is one of these
    grammar: str | None = None  #: the text is a sentence of this grammar (Lark's notation)
    logits_processors: Sequence[LogitsProcessor] = ()  #: called in order, before everything else is applied
    logprobs: int | None = None  #: report the chosen token's log probability, and the likeliest so many beside it
    seed: int | None = None  #: same seed, same tokens, however the request was scheduled; None: the engine's choice

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        object.__setattr__(self, "logits_processors", tuple(self.logits_processors))
        for name in _COUNTS:
            self._require(isinstance(getattr(self, name), int | None), name, "an integer")
        self._require(self.n >= 1, "n", "at least 1")
        self._require(self.beam_width is None or self.beam_width >= 1, "beam_width", "at least 1, or None")
        self._require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", "at least 1, or None")
        self._require(0 <= self.min_tokens <= (self.max_tokens or math.inf), "min_tokens", "from 0 to max_tokens")
        self._require(0 <= self.temperature < math.inf, "temperature", "finite and not negative")
        self._require(self.top_k >= 0, "top_k", "0 (off) or more")
        self._require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1")
        self._require(0 <= self.min_p <= 1, "min_p", "from 0 to 1")
        self._require(0 < self.repetition_penalty < math.inf, "repetition_penalty", "finite and above 0")
        self._require(math.isfinite(self.presence_penalty), "presence_penalty", "finite")
        self._require(math.isfinite(self.frequency_penalty), "frequency_penalty", "finite")
        self._require(abs(self.length_penalty) <= 50, "length_penalty", "from -50 to 50")
        self._require(all(map(math.isfinite, (self.logit_bias or {}).values())), "logit_bias", "finite")
        self._require(all(self.stop), "stop", "strings that are not empty")
        self._require(self.logprobs is None or self.logprobs >= 0, "logprobs", "0 or more, or None")
        self._require(all(map(callable, self.logits_processors)), "logits_processors", "functions of (tokens, logits)")
        self._require(self.choice is None or _is_choice(self.choice), "choice", "a list of texts, or None")
        constraints = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(constraints) > 1:
            raise InvalidRequest(f"{' and '.join(constraints)} were asked for; a request can have one of them")
        if self.beam_width is not None:
            self._refuse_what_beam_search_ignores()

    @property
    def constraint(self) -> tuple[str, Any] | None:
        """Which of CONSTRAINTS it has, and its value."""
        return next(((name, value) for name in CONSTRAINTS if (value := getattr(self, name)) is not None), None)

    def _refuse_what_beam_search_ignores(self) -> None:
        for knob in fields(self):
            if knob.name not in _BEAM_KNOBS and getattr(self, knob.name) != knob.default:
                raise InvalidRequest(
                    f"{knob.name}={getattr(self, knob.name)!r} was asked for with beam_width={self.beam_width}; beam "
                    f"search is deterministic, it keeps the likeliest sequences: leave {knob.name} at {knob.default!r}"
                )

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise InvalidRequest(f"{name}={getattr(self, name)!r} was asked for; it must be {expected}")


_COUNTS = ("n", "beam_width", "max_tokens", "min_tokens", "top_k", "logprobs", "seed")


def _is_choice(texts: Sequence[str]) -> bool:
    return not isinstance(texts, str) and len(texts) > 0 and all(isinstance(text, str) for text in texts)


#: What beam search heeds; ``seed`` changes nothing, since nothing is drawn.
_BEAM_KNOBS = frozenset(
    ("beam_width", "max_tokens", "temperature", "length_penalty", "stop_token_ids", "ignore_eos", "seed")
)
