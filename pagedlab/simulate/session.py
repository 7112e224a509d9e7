"""Sessions: requests that follow from each other. A chat is a path, an agent that tries several things is a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import Offer


class Turn(NamedTuple):
    """Words that are new, and the answer that they get; what follows sees both, and all that came before them."""

    words: Sequence[int]
    answer: Sequence[int]
    following: Sequence[Turn] = ()  #: all of them are asked when the answer has come, each after its own delay
    delay: float = 0.0  #: seconds from the answer before it: somebody reads and types, or a tool runs


def in_turn(turns: Sequence[Turn]) -> Turn:
    """The first of ``turns``, at least one, which the second follows, and so on."""
    if not turns:
        raise InvalidQuantity("a session without a turn was asked for; it has at least 1")
    following: Sequence[Turn] = ()
    for turn in reversed(turns):
        following = (turn._replace(following=following),)
    return following[0]


def offer_of(turn: Turn, at: float, history: Sequence[int] = (), session: str = "", kind: str = "") -> Offer:
    """``turn`` as a request that is due at ``at``; its prompt is ``history`` and its words.

    The answer that a follow-up remembers is the one offered: where a real model said something else, it finds its
    prompt in the cache, and not its answer.
    """
    prompt = [*history, *turn.words]

    def then(moment: float) -> Iterator[Offer]:
        known = [*prompt, *turn.answer]
        for follower in turn.following:
            yield offer_of(follower, moment + follower.delay, known, session, kind)

    return Offer(
        at,
        prompt,
        len(turn.answer),
        output=turn.answer,
        then=then if turn.following else None,
        session=session,
        kind=kind,
    )
