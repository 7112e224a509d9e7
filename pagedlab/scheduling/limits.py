"""Limits: what bounds a step, a sequence and a wait; and what is refused because of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pagedlab.errors import InvalidConfig, InvalidRequest
from pagedlab.memory.manager import CacheManager
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


def slots_for_one(manager: CacheManager, limits: Limits, pinned: int = 0) -> int:
    """Slots that a sequence can have when it is alone, beside ``pinned`` pages more than are pinned now."""
    pages = manager.pool.num_pages - manager.num_pinned - pinned
    if manager.window is not None and pages > manager.pages_for(manager.window + limits.max_tokens_per_step):
        return limits.max_context  # what lies behind the window comes back as it goes on
    return pages * manager.page_size


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


def refuse_impossible_pin(pages: int, slots_left: int, accepted: Iterable[Request]) -> None:
    """Raise InvalidRequest for ``pages`` beside which somebody who was accepted could not finish."""
    for request in accepted:
        if request.most_slots > slots_left:
            raise InvalidRequest(
                f"{pages} pages more cannot be pinned: request {request.id} may come to need {request.most_slots} "
                f"slots, and {slots_left} would be left. Pin less, or wait until it has ended."
            )
