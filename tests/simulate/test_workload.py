"""Workloads: one seed, one load; prefixes shared where the name says so; and nothing made before its time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise, takewhile
from statistics import fmean

import pytest

from pagedlab.scheduling.load import Offer
from pagedlab.simulate.content import MOST_TOKENS, Library, text
from pagedlab.simulate.lengths import Constant, Zipf
from pagedlab.simulate.workload import WORKLOADS, Chat, Workload

NAMES = sorted(WORKLOADS)


def take(workload: Workload, number: int, seed: int = 0) -> list[Offer]:
    return list(islice(workload.offers(seed), number))


def all_of(offer: Offer, answered_after: float = 1.0) -> list[Offer]:
    """``offer`` and everything that comes of it, each answered so many seconds after it was due."""
    followers = offer.then(offer.at + answered_after) if offer.then else ()
    return [offer, *(later for follower in followers for later in all_of(follower, answered_after))]


def facts(offer: Offer) -> tuple[object, ...]:
    return offer.at, list(offer.prompt), offer.num_output, list(offer.output or ()), offer.n, offer.session, offer.kind


def shared(first: Offer, second: Offer) -> int:
    """Tokens that both prompts begin with."""
    same = (a == b for a, b in zip(first.prompt, second.prompt, strict=False))
    return sum(takewhile(bool, same))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_load_again_follow_ups_included(name):
    workload = WORKLOADS[name].make(2.0)
    once, again, other = ([facts(o) for first in take(workload, 20, s) for o in all_of(first)] for s in (3, 3, 4))
    assert once == again != other
    assert [o.at for o in take(workload, 20)] == sorted(o.at for o in take(workload, 20))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_session_says_does_not_depend_on_how_fast_it_is_answered_or_on_the_rate(name):
    def words(rate: float, answered_after: float) -> list[object]:
        return [facts(o)[1:] for first in take(WORKLOADS[name].make(rate), 5) for o in all_of(first, answered_after)]

    assert words(2.0, 1.0) == words(2.0, 50.0) == words(0.1, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_small_natural_numbers_and_every_answer_has_its_length(name):
    for first in take(WORKLOADS[name].make(2.0), 20):
        for offer in all_of(first):
            assert all(0 <= token < MOST_TOKENS for token in [*offer.prompt, *(offer.output or ())])
            assert offer.num_output >= 1 and len(offer.prompt) >= 1
            assert offer.kind and offer.session


@pytest.mark.parametrize("name", NAMES)
def test_ten_of_a_million_sessions_cost_ten(name):
    workload = WORKLOADS[name].make(1000.0)
    made = []
    original = type(workload).session

    class Counting(type(workload)):  # type: ignore[misc]
        def session(self, source, at, number):
            made.append(number)
            return original(self, source, at, number)

    counting = Counting(arrivals=workload.arrivals)
    assert len(list(islice(counting.offers(sessions=1_000_000), 10))) == 10
    assert made == list(range(10))


def test_a_chats_next_turn_begins_with_its_last_prompt_and_the_answer_to_it():
    chat = Chat(turns=Constant(4))
    for first in take(chat, 20):
        turns = all_of(first)
        assert len(turns) == 4
        for before, after in pairwise(turns):
            said = [*before.prompt, *before.output]
            assert list(after.prompt[: len(said)]) == said and len(after.prompt) > len(said)
            assert after.at > before.at + 1.0 and after.session == before.session


def test_chats_share_their_system_prompt_and_nothing_else():
    chat = Chat(systems=Zipf(2), system_tokens=Constant(100), turns=Constant(1))
    offers = take(chat, 40)
    assert {shared(a, b) for a, b in pairwise(offers)} == {0, 100}
    assert {shared(a, b) for a, b in pairwise(take(replace(chat, systems=Zipf(1)), 40))} == {100}
    assert offers[0].prompt[:100] == text(Library.SYSTEM_PROMPTS.number(0), 100)


def test_system_prompts_are_the_same_on_another_day():
    systems = [{tuple(o.prompt[:5]) for o in take(Chat(systems=Zipf(3)), 60, seed)} for seed in (1, 2)]
    assert systems[0] == systems[1] and len(systems[0]) == 3


def test_a_chat_ends_before_a_turn_that_would_not_fit():
    chat = Chat(
        system_tokens=Constant(100), turns=Constant(50), words=Constant(60), answer=Constant(40), max_context=550
    )
    for first in take(chat, 5):
        turns = all_of(first)
        assert len(turns) == 4 and len(turns[-1].prompt) + turns[-1].num_output == 500
    (alone,) = all_of(take(replace(chat, max_context=10), 1)[0])
    assert len(alone.prompt) == 160  # the first question is always asked


def test_a_chat_has_the_means_that_its_docstring_cites():
    chat, words, answers, turns = Chat(system_tokens=Constant(1)), [], [], []
    for first in take(chat, 4000):
        talk = all_of(first)
        turns.append(len(talk))
        words.append(len(first.prompt) - 1)
        answers += [offer.num_output for offer in talk]
    assert fmean(words) == pytest.approx(161, rel=0.05)
    assert fmean(answers) == pytest.approx(338, rel=0.05)
    assert fmean(turns) == pytest.approx(2.0, rel=0.05)
