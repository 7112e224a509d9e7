"""Loads made to fit: the vocabulary of a model, the context of a server, and what follows offers too."""

from __future__ import annotations

from itertools import count, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.lengths import Constant
from pagedlab.simulate.within import within_context, within_vocabulary
from pagedlab.simulate.workload import Agents, Chat, Sampling


def all_of(offer: Offer) -> list[Offer]:
    followers = offer.then(offer.at + 1.0) if offer.then else ()
    return [offer, *(later for follower in followers for later in all_of(follower))]


@given(st.integers(2, 100_000), st.lists(st.integers(0, (1 << 40) - 1), min_size=1))
def test_tokens_are_in_the_vocabulary_and_equal_ones_stay_equal(vocab_size, prompt):
    (offer,) = within_vocabulary([Offer(0.0, [*prompt, *prompt], 1, output=prompt[:1])], vocab_size)
    assert all(0 <= token < vocab_size for token in offer.prompt)
    half = len(prompt)
    assert offer.prompt[:half] == offer.prompt[half:] and list(offer.output) == list(offer.prompt[:1])


def test_what_follows_is_in_the_same_vocabulary_and_still_remembers():
    plain = list(islice(Chat(turns=Constant(3)).offers(), 5))
    for before, after in zip(plain, within_vocabulary(plain, 49_152), strict=True):
        turns, mapped = all_of(before), all_of(after)
        assert [len(o.prompt) for o in turns] == [len(o.prompt) for o in mapped]
        assert [(o.at, o.num_output, o.session) for o in turns] == [(o.at, o.num_output, o.session) for o in mapped]
        for first, second in pairwise(mapped):
            said = [*first.prompt, *first.output]
            assert list(second.prompt[: len(said)]) == said


def test_texts_that_differ_still_differ_in_a_small_vocabulary():
    prompts = [tuple(o.prompt) for o in within_vocabulary(Sampling(words=Constant(16)).offers(sessions=2000), 1000)]
    assert len(set(prompts)) == 2000


def test_neighbouring_tokens_do_not_become_equal_runs():
    first, second = (
        list(offer.prompt)
        for offer in within_vocabulary([Offer(0.0, range(64), 1), Offer(0.0, range(1000, 1064), 1)], 1000)
    )
    assert first != second and sum(a == b for a, b in zip(first, second, strict=True)) < 4


def test_requests_that_do_not_fit_are_left_out_with_all_that_follows_them():
    chat = Chat(system_tokens=Constant(100), turns=Constant(9), words=Constant(60), answer=Constant(40))
    (first,) = within_context(chat.offers(sessions=1), 550)
    turns = all_of(first)
    assert [len(o.prompt) + o.num_output for o in turns] == [200, 300, 400, 500]
    assert list(within_context(chat.offers(sessions=3), 199)) == []
    assert len(list(within_context([Offer(0.0, [1], 1, allowed=9)], 9))) == 0


def test_an_agent_keeps_its_branches_that_fit():
    (root,) = within_context(Agents(branches=Constant(2), depth=Constant(3)).offers(sessions=1), 1 << 20)
    longest = max(len(o.prompt) + o.num_output for o in all_of(root))
    (pruned,) = within_context(Agents(branches=Constant(2), depth=Constant(3)).offers(sessions=1), longest - 1)
    assert len(all_of(pruned)) == len(all_of(root)) - 1


def test_what_was_not_asked_for_is_not_made():
    made = count()
    endless = (Offer(float(next(made)), [1] * 4, 1) for _ in count())
    assert len(list(islice(within_context(within_vocabulary(endless, 100), 8), 10))) == 10
    assert next(made) <= 11


def test_a_vocabulary_too_small_to_tell_texts_apart_is_refused():
    with pytest.raises(InvalidQuantity, match="takes 2"):
        within_vocabulary([], 1)
