"""Workloads: one seed, one load; prefixes shared where the name says so; and nothing made before its time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise, takewhile
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.content import MOST_TOKENS, SHELF, Library, text
from pagedlab.simulate.lengths import Constant, Uniform, Zipf
from pagedlab.simulate.workload import WORKLOADS, Agents, Chat, Documents, FewShot, Sampling, Workload

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


def test_questions_about_a_document_share_it_and_popular_ones_come_again():
    offers = take(Documents(documents=Zipf(5), document_tokens=Uniform(1000, 3000), question=Constant(30)), 60)
    about: dict[str, list[Offer]] = {}
    for offer in offers:
        about.setdefault(offer.session, []).append(offer)
    assert len(about) == 5 and len(about["document-0"]) > len(about["document-4"])
    for same in about.values():
        assert {shared(a, b) for a, b in pairwise(same)} <= {len(same[0].prompt) - 30}
    assert {shared(a[0], b[0]) for a, b in pairwise(about.values())} == {0}


def test_documents_have_the_means_that_their_docstring_cites():
    offers = take(Documents(documents=Zipf(4000, 0.0)), 4000)
    assert fmean(len(offer.prompt) for offer in offers) == pytest.approx(7590, rel=0.05)
    assert fmean(offer.num_output for offer in offers) == pytest.approx(182, rel=0.05)


def test_few_shot_prompts_begin_with_their_template_and_are_answered_briefly():
    offers = take(FewShot(templates=Zipf(2), template_tokens=Constant(50)), 40)
    assert {shared(a, b) for a, b in pairwise(offers)} == {0, 50}
    assert max(offer.num_output for offer in offers) <= 16


def test_an_agents_answers_branch_into_a_tree_whose_paths_are_shared():
    agents = Agents(branches=Constant(3), depth=Constant(3), tool_seconds=2.0)
    for root in take(agents, 5):
        tree = all_of(root)
        assert len(tree) == 1 + 3 + 9 and {offer.session for offer in tree} == {root.session}
        children = list(root.then(10.0))
        said = len(root.prompt) + root.num_output
        assert {shared(a, b) for a, b in pairwise(children)} == {said}
        assert all(list(child.prompt[:said]) == [*root.prompt, *root.output] for child in children)
        assert len({child.at for child in children}) == 3 and all(child.at > 10.0 for child in children)
        assert all(leaf.then is None for child in children for leaf in child.then(20.0))


def test_agents_branch_as_often_as_the_distribution_says():
    trees = [len(all_of(root)) for root in take(Agents(branches=Uniform(1, 3), depth=Constant(4)), 400)]
    assert fmean(trees) == pytest.approx(1 + 2 + 4 + 8, rel=0.1) and min(trees) >= 4


def test_sampling_asks_for_several_answers_to_prompts_that_share_nothing():
    offers = take(Sampling(n=4), 40)
    assert {offer.n for offer in offers} == {4} == {offer.params.n for offer in offers}
    assert {shared(a, b) for a, b in pairwise(offers)} == {0}


def test_streams_that_are_served_together_share_only_what_is_in_a_library():
    first = [offer for root in Chat().offers(1, 50) for offer in all_of(root)]
    second = [offer for root in Chat().offers(2, 50, first_text=1 << 32) for offer in all_of(root)]
    beginnings = [{tuple(offer.output) for offer in stream} for stream in (first, second)]
    assert beginnings[0].isdisjoint(beginnings[1])
    assert not beginnings[0].isdisjoint({tuple(o.output) for root in Chat().offers(1, 50) for o in all_of(root)})


@given(st.integers(0, 1 << 38), st.integers(1, 200_000), st.integers(1, 200_000))
def test_a_longer_text_begins_with_a_shorter_one_and_no_other_text_has_its_first_token(number, some, more):
    short, long = sorted((some, more))
    assert len(text(number, short)) == short and text(number, long)[:short] == text(number, short)
    assert text(number + 1, 1)[0] not in text(number, long)
    assert all(0 <= token < MOST_TOKENS for token in text(number, 100))


def test_libraries_have_texts_of_their_own_below_the_largest_token():
    ends = [(library.number(0), library.number(SHELF - 1)) for library in Library]
    assert all(last < first for (_, last), (first, _) in pairwise(ends))
    assert all(token < MOST_TOKENS for _, last in ends for token in text(last, 10))


@pytest.mark.parametrize(
    "make", [lambda: Chat(think_seconds=0), lambda: Agents(tool_seconds=-1), lambda: Sampling(n=0)]
)
def test_a_workload_that_cannot_be_is_refused_when_it_is_made(make):
    with pytest.raises(InvalidQuantity, match="must be"):
        make()


@pytest.mark.parametrize(
    "workload",
    [Chat(turns=Constant(0)), Chat(words=Constant(0)), Chat(answer=Constant(0)), FewShot(answer=Constant(0))],
)
def test_lengths_that_cannot_be_are_refused_when_they_are_drawn(workload):
    with pytest.raises(InvalidQuantity, match=r"at least 1|has from 1"):
        take(workload, 1)
