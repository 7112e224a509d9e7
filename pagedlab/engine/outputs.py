"""What comes back: one RequestOutput a prompt, one CompletionOutput a sequence."""

from __future__ import annotations

from dataclasses import dataclass

from pagedlab.scheduling.request import FinishReason


@dataclass
class RequestMetrics:
    """Moments in seconds of one monotonic clock; None until they have come."""

    arrival: float
    first_token: float | None = None
    last_token: float | None = None
    num_output: int = 0  #: tokens of its longest sequence

    def note(self, now: float, num_output: int) -> None:
        """Tokens have come; the longest sequence has ``num_output`` now."""
        self.first_token = now if self.first_token is None else self.first_token
        self.last_token, self.num_output = now, max(self.num_output, num_output)

    @property
    def ttft(self) -> float | None:
        """Time to first token, seconds: waiting and prefill."""
        return None if self.first_token is None else self.first_token - self.arrival

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first, seconds: decode."""
        if self.first_token is None or self.last_token is None or self.num_output < 2:
            return None
        return (self.last_token - self.first_token) / (self.num_output - 1)

    @property
    def e2e(self) -> float | None:
        """From arrival to the last token, seconds."""
        return None if self.last_token is None else self.last_token - self.arrival


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    logprobs: list[dict[int, float]] | None  #: for each output token: token id -> log probability
    finish_reason: FinishReason | None
    stop_reason: int | str | None  #: the stop id or stop string that ended it
    cumulative_logprob: float | None = None  #: of a beam, or where logprobs were asked for


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None  #: None when the prompt was given as token ids
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    num_cached_tokens: int  #: prompt tokens whose pages were found in the prefix cache
    num_preemptions: int
    metrics: RequestMetrics
    error: str | None = None  #: what went wrong, where a finish_reason is "error"
