"""Drafts: guesses that are verified in the step in which their tokens are computed, and leave no trace when wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.drafts import PromptLookup
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams
from tests.scheduling.fake_engine import EOS, FakeEngine, token_after


class Guesses:
    """``right`` tokens that will be said, then ``wrong`` ones that will not."""

    def __init__(self, right: int, wrong: int) -> None:
        self.right, self.wrong = right, wrong

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        drafts: list[int] = []
        for _ in range(self.right):
            drafts.append(token_after([*sequence.token_ids, *drafts], sequence.index))
        return [*drafts, *[0] * self.wrong][:most]


def spoken(tokens: list[int]) -> Sequence:
    return Sequence(0, Request("", tokens, SamplingParams()), 0, list(tokens))


@pytest.mark.parametrize("page_size", [1, 2, 4, 7])
@pytest.mark.parametrize(("right", "wrong"), [(0, 3), (1, 0), (2, 2), (5, 0)])
def test_output_is_the_same_with_drafts_and_takes_as_many_steps_fewer_as_were_right(
    page_size: int, right: int, wrong: int
) -> None:
    engine = FakeEngine(page_size=page_size, drafter=Guesses(right, wrong))
    plain = FakeEngine(page_size=page_size)
    for one in (engine, plain):
        one.add([1, 2, 3], max_tokens=24)
        one.run()
    assert engine.outputs() == plain.outputs()
    assert engine.num_steps == 1 + -(-23 // (1 + right))


@pytest.mark.parametrize("page_size", [1, 2, 4])
@pytest.mark.parametrize("cache", ["hash", "radix"])
def test_rejected_drafts_leave_no_slot_and_nothing_in_the_cache(page_size: int, cache: str) -> None:
    """Behaviour 33."""
    engine = FakeEngine(page_size=page_size, cache=cache, drafter=Guesses(1, 5))
    request = engine.add([1] * 3, max_tokens=20)
    (sequence,) = request.sequences
    while engine.scheduler.has_work:
        engine.step()
        if sequence.finish_reason is None:
            assert engine.manager.table(sequence.id).num_tokens == sequence.num_computed == sequence.num_tokens - 1
            published = engine.manager.pool.num_used - (sequence.num_computed % page_size > 0)
            assert len(engine.manager.prefix_cache.pages()) == published
    held = engine.manager.lookup([*sequence.token_ids, 0])
    assert held == (sequence.num_tokens - 1) // page_size * page_size
    assert engine.manager.lookup([*sequence.token_ids[:5], 0, 0, 0, 0, 0]) <= 5


def test_an_end_among_accepted_drafts_ends_there() -> None:
    """Behaviour 28."""

    class Rest:
        def propose(self, sequence: Sequence, most: int) -> list[int]:
            return [7, 7, EOS, 7][:most]

    engine = FakeEngine(drafter=Rest())
    request = engine.add([1, 2], max_tokens=10, script=lambda tokens, index: EOS if len(tokens) == 5 else 7)
    engine.run()
    assert (request.sequences[0].output_ids, request.sequences[0].finish_reason) == ([7, 7, 7, EOS], FinishReason.STOP)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 6])
def test_drafts_stop_short_of_max_tokens(max_tokens: int) -> None:
    engine = FakeEngine(drafter=Guesses(9, 0))
    request = engine.add([1, 2], max_tokens=max_tokens)
    plans = engine.run()
    assert request.sequences[0].num_output == max_tokens
    assert all(chunk.stop <= 2 + max_tokens - 1 for plan in plans for chunk in plan.chunks)


@pytest.mark.parametrize(("budget", "drafted"), [(2, [0, 0]), (3, [1, 0]), (5, [3, 0]), (9, [6, 1]), (99, [6, 6])])
def test_drafts_have_what_is_left_of_the_budget_when_everybody_has_a_token(budget: int, drafted: list[int]) -> None:
    """Behaviour 24."""
    engine = FakeEngine(budget=budget, drafter=Guesses(9, 0))
    for number in range(2):
        engine.add([number], max_tokens=8)
    engine.step()
    plan = engine.step()
    assert [len(chunk.drafts) for chunk in plan.chunks] == drafted
    assert plan.num_tokens == min(budget, 2 + sum(drafted))
    engine.run()


@pytest.mark.parametrize("num_prompt", [3, 4])  # the second asks for its third page, or does not
def test_nobody_is_thrown_out_for_a_guess(num_prompt: int) -> None:
    """The first is served before the second, and could take the last page for its drafts."""
    engine = FakeEngine(page_size=2, num_pages=5, cache=None, drafter=Guesses(6, 0))
    engine.add([1] * 3, max_tokens=3)
    engine.add([2] * num_prompt, max_tokens=5 - num_prompt + 1)
    plans = engine.run()
    assert sum(len(plan.preempted) for plan in plans) == 0
    assert any(not chunk.drafts for plan in plans[1:] for chunk in plan.chunks), "some found no page for their drafts"


def test_a_drafter_that_says_more_than_it_was_asked_for_is_cut_short() -> None:
    class Chatterbox:
        def propose(self, sequence: Sequence, most: int) -> list[int]:
            return [token_after(sequence.token_ids, 0)] * 100

    engine = FakeEngine(budget=4, num_pages=4, drafter=Chatterbox())
    request = engine.add([1, 2, 3], max_tokens=12)
    plans = engine.run()
    assert max(len(chunk.drafts) for plan in plans for chunk in plan.chunks) == 3, "the fake engine counts the budget"
    assert request.sequences[0].num_output == 12


def test_a_drafter_that_fails_costs_nobody_a_token() -> None:
    class Broken:
        def propose(self, sequence: Sequence, most: int) -> list[int]:
            raise LookupError("planted in a drafter")

    engine = FakeEngine(drafter=Broken())
    request = engine.add([1, 2, 3], max_tokens=5)
    with pytest.warns(UserWarning, match="LookupError: planted in a drafter"):
        engine.run()
    assert request.sequences[0].num_output == 5


@pytest.mark.parametrize("num_right", range(6))
def test_of_n_drafts_as_many_are_kept_as_were_right_up_to_the_first_that_was_wrong(num_right: int) -> None:
    class Once:
        """Five drafts of which one is wrong; those after it would be right again."""

        def propose(self, sequence: Sequence, most: int) -> list[int]:
            drafts = Guesses(5, 0).propose(sequence, most)
            return [*drafts[:num_right], *[0] * (num_right < 5), *drafts[num_right + 1 :]]

    engine = FakeEngine(drafter=Once())
    request = engine.add([1, 2, 3], max_tokens=30)
    (sequence,) = request.sequences
    engine.step()
    plan = engine.step()
    assert len(plan.samples[0].drafts) == 5
    assert sequence.num_output == 1 + num_right + 1, "those that were right, and the token that the model says itself"
    assert sequence.num_computed == sequence.num_tokens - 1
    engine.run()


def test_forks_are_made_before_anything_is_guessed() -> None:
    engine = FakeEngine(budget=4, drafter=Guesses(2, 1))
    request = engine.add([1] * 5, max_tokens=6, n=3)  # its last prompt token has a step of its own
    engine.run()
    plain = FakeEngine()
    plain.add([1] * 5, max_tokens=6, n=3)
    plain.run()
    assert engine.outputs() == plain.outputs() and len(request.sequences) == 3


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 9),
)
def test_prompt_lookup_says_what_followed_when_these_words_last_stood_there(
    tokens: list[int], ngram: int, num_drafts: int, most: int, grown_by: int
) -> None:
    lookup, sequence = PromptLookup(num_drafts, ngram), spoken(tokens[:-grown_by] or tokens[:1])
    lookup.propose(sequence, most)
    sequence.token_ids += tokens[len(sequence.token_ids) :]
    expected: list[int] = []
    for end in range(len(tokens) - 1, ngram - 1, -1):  # where they stood last, and something followed
        if tokens[end - ngram : end] == tokens[-ngram:]:
            expected = tokens[end : end + min(most, num_drafts)]
            break
    assert lookup.propose(sequence, most) == expected


def test_prompt_lookup_reads_each_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(list[int]):
        read = 0

        def __getitem__(self, key: object) -> object:  # type: ignore[override]
            Counting.read += 1
            return super().__getitem__(key)  # type: ignore[index]

    lookup, sequence = PromptLookup(), spoken([1, 2, 3] * 1000)
    sequence.token_ids = Counting(sequence.token_ids)
    lookup.propose(sequence, 4)
    Counting.read = 0
    for token in (1, 2, 3, 1):
        sequence.token_ids.append(token)
        lookup.propose(sequence, 4)
    assert Counting.read <= 3 * 4


def test_prompt_lookup_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InvalidConfig, match="num_drafts=0"):
        PromptLookup(num_drafts=0)
