"""Limits: what bounds a step, a sequence and a wait; and what is refused because of them."""

from __future__ import annotations

from dataclasses import dataclass

from pagedlab.errors import InvalidConfig, InvalidRequest
from pagedlab.scheduling.request import Request


@dataclass(frozen=True)
class Limits:
    """``max_context`` is in tokens, prompt and output together."""

    max_tokens_per_step: int = 512
    max_sequences: int = 64
    max_context: int = 8192
    max_overtakes: int = 256  #: later arrivals that may be admitted before a sequence that waits

    def __post_init__(self) -> None:
        for name in ("max_tokens_per_step", "max_sequences", "max_context"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name}={getattr(self, name)} was asked for; it must be at least 1")
        if self.max_overtakes < 0:
            raise InvalidConfig(f"max_overtakes={self.max_overtakes} was asked for; it must be at least 0")


def refuse_impossible_pool(page_size: int, num_pages: int, num_host_pages: int) -> None:
    """Raise InvalidConfig for a pool without room for a token."""
    if page_size < 1 or num_pages < 1 or num_host_pages < 0:
        raise InvalidConfig(
            f"page_size={page_size}, num_pages={num_pages} and num_host_pages={num_host_pages} were asked for; "
            "the first two must be at least 1, the last at least 0"
        )


def refuse_impossible(request: Request, limits: Limits, max_sequence_tokens: int, pool_slots: int) -> None:
    """Raise InvalidRequest for what can never be served. ``pool_slots``: what pins leave of the pool."""
    params, num_prompt = request.params, request.num_prompt
    if num_prompt == 0:
        raise InvalidRequest(f"request {request.id} has an empty prompt; give it at least one token")
    num_tokens = num_prompt + (params.max_tokens or 1)
    if num_tokens > max_sequence_tokens:
        raise InvalidRequest(
            f"request {request.id} asks for {num_tokens} tokens ({num_prompt} in its prompt); a sequence may have "
            f"{max_sequence_tokens} (max_context {limits.max_context}, pool {pool_slots} slots). "
            "Shorten the prompt, lower max_tokens, or raise num_pages or max_context."
        )
    wide = "beam_width" if params.beam_width else "n"
    if getattr(params, wide) > limits.max_sequences:
        raise InvalidRequest(
            f"request {request.id} asks for {wide}={getattr(params, wide)} sequences; {limits.max_sequences} "
            f"may run at once. Lower {wide} or raise max_sequences."
        )
