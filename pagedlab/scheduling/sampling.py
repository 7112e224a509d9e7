"""SamplingParams: how a request wants its tokens chosen and when it wants to stop. Plain data, checked on creation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pagedlab.errors import InvalidRequest


@dataclass(frozen=True)
class SamplingParams:
    """Names and defaults are vLLM's. Impossible values raise InvalidRequest."""

    n: int = 1  #: sequences sampled from one prompt
    max_tokens: int | None = 16  #: new tokens a sequence may have; None: as many as the context holds
    min_tokens: int = 0  #: no end-of-sequence or stop before so many new tokens
    temperature: float = 1.0  #: 0 is greedy
    top_k: int = 0  #: keep the k likeliest tokens; 0 keeps all
    top_p: float = 1.0  #: keep the likeliest tokens that together reach this probability
    min_p: float = 0.0  #: drop tokens less likely than this share of the likeliest one
    repetition_penalty: float = 1.0  #: > 1 makes tokens of prompt and output less likely
    presence_penalty: float = 0.0  #: subtracted once from the logit of every token already in the output
    frequency_penalty: float = 0.0  #: subtracted for every time the token stands in the output
    logit_bias: Mapping[int, float] | None = None  #: added to the logits of these tokens
    stop: str | Sequence[str] = ()  #: the text ends before the first of these strings
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  #: report the chosen token's log probability, and the likeliest so many beside it
    seed: int | None = None  #: same seed, same tokens, however the request was scheduled; None: the engine's choice

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        self._require(self.n >= 1, "n", "at least 1")
        self._require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", "at least 1, or None")
        self._require(0 <= self.min_tokens <= (self.max_tokens or math.inf), "min_tokens", "from 0 to max_tokens")
        self._require(0 <= self.temperature < math.inf, "temperature", "finite and not negative")
        self._require(self.top_k >= 0, "top_k", "0 (off) or more")
        self._require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1")
        self._require(0 <= self.min_p <= 1, "min_p", "from 0 to 1")
        self._require(0 < self.repetition_penalty < math.inf, "repetition_penalty", "finite and above 0")
        self._require(math.isfinite(self.presence_penalty), "presence_penalty", "finite")
        self._require(math.isfinite(self.frequency_penalty), "frequency_penalty", "finite")
        self._require(all(map(math.isfinite, (self.logit_bias or {}).values())), "logit_bias", "finite")
        self._require(all(self.stop), "stop", "strings that are not empty")
        self._require(self.logprobs is None or self.logprobs >= 0, "logprobs", "0 or more, or None")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise InvalidRequest(f"{name}={getattr(self, name)!r} was asked for; it must be {expected}")
