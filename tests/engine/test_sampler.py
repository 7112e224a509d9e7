"""Sampling against a plain-Python reading of each rule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.engine.sampler import Sampled, Sampler, choose, highest, uniform
from pagedlab.errors import SamplingFailed
from pagedlab.scheduling.plan import SampleRow
from pagedlab.scheduling.request import Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams

logit_rows = st.lists(st.floats(-8, 8).map(lambda x: round(x, 3)), min_size=2, max_size=40, unique=True)


def a_sequence(params: SamplingParams, prompt: list[int], output: list[int], seed: int = 0) -> Sequence:
    request = Request("r", prompt, params, seed=seed)
    sequence = Sequence(0, request, 0, [*prompt, *output])
    request.sequences.append(sequence)
    return sequence


def sample_rows(
    logits: torch.Tensor, sequences: list[Sequence], eos: tuple[int, ...] = ()
) -> list[list[Sampled] | Exception]:
    return Sampler(eos)(logits, [SampleRow(i, sequence) for i, sequence in enumerate(sequences)])


def only(result: list[Sampled] | Exception) -> Sampled:
    assert not isinstance(result, Exception), result
    (choice,) = result
    return choice


def sample(logits: list[float], sequence: Sequence, eos: tuple[int, ...] = ()) -> int:
    return only(sample_rows(torch.tensor([logits]), [sequence], eos)[0]).token


def allowed_tokens(logits: list[float], params: SamplingParams) -> set[int]:
    """The rules of min-p, top-k and top-p, applied one after the other to a sorted list."""
    top = max(logits)
    weights = {i: math.exp((x - top) / params.temperature) for i, x in enumerate(logits)}
    kept = {i: w for i, w in weights.items() if w >= params.min_p}
    ranked = sorted(kept, key=lambda i: -kept[i])[: params.top_k or None]
    mass, allowed, so_far = sum(kept[i] for i in ranked), set(), 0.0
    for i in ranked:
        if params.top_p < 1 and so_far > params.top_p * mass * (1 + 1e-9):  # a tie is decided by rounding
            break
        allowed.add(i)
        so_far += kept[i]
    return allowed


@given(logit_rows)
def test_temperature_zero_takes_the_likeliest_token(logits: list[float]) -> None:
    token = sample(logits, a_sequence(SamplingParams(temperature=0), [1], []))
    assert logits[token] == max(logits)


@settings(max_examples=200)
@given(
    logit_rows,
    st.floats(0.3, 3),
    st.integers(0, 6),
    st.sampled_from([0.05, 0.4, 0.9, 1.0]),
    st.sampled_from([0.0, 0.1, 0.7]),
    st.floats(0, 1, exclude_max=True),
)
def test_a_sampled_token_passes_min_p_top_k_and_top_p(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float, u: float
) -> None:
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    assert choose(torch.tensor(logits, dtype=torch.float64), params, u) in allowed_tokens(logits, params)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.5), (0, 0.95), (7, 1.0), (2000, 0.9)])
def test_top_k_and_top_p_keep_their_rules_in_a_large_vocabulary(scale: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(4000, generator=torch.Generator().manual_seed(1)).double() * scale
    params = SamplingParams(top_k=top_k, top_p=top_p)
    allowed = allowed_tokens(logits.tolist(), params)
    drawn = {choose(logits, params, i / 2000) for i in range(2000)}
    assert drawn <= allowed
    rank = {token: place for place, token in enumerate(logits.argsort(descending=True).tolist())}
    assert max(map(rank.__getitem__, drawn)) > 0.5 * len(allowed)


@pytest.mark.parametrize("vocab", [1, 7, 96, 49152])
def test_of_equal_logits_the_first_is_taken_and_nan_is_not_overlooked(vocab: int) -> None:
    logits = torch.randint(0, 3, (5, vocab), generator=torch.Generator().manual_seed(vocab)).float()
    logits[1], logits[2, vocab // 2] = float("-inf"), torch.nan
    best, token = highest(logits)
    assert torch.equal(token, logits.argmax(1))
    torch.testing.assert_close(best, logits.amax(1), rtol=0, atol=0, equal_nan=True)


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = [choose(logits, SamplingParams(), uniform(7, 0, position)) for position in range(20_000)]
    shares = torch.tensor(draws).bincount(minlength=4) / len(draws)
    assert torch.allclose(shares, logits.softmax(-1), atol=0.015)  # four standard deviations


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_a_token_of_probability_zero_is_never_drawn(u: float) -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf])
    assert choose(logits, SamplingParams(), u) in (1, 3)


@given(st.integers(0, 2**63), st.integers(0, 9), st.integers(0, 10**6))
def test_noise_depends_on_seed_sequence_and_position_alone(seed: int, index: int, position: int) -> None:
    u = uniform(seed, index, position)
    assert 0 <= u < 1
    assert u == uniform(seed, index, position)
    assert len({u, uniform(seed + 1, index, position), uniform(seed, index + 1, position)}) == 3
    assert u != uniform(seed, index, position + 1)


def test_a_token_does_not_depend_on_the_rows_beside_it() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4, 50)
    sequences = [a_sequence(SamplingParams(top_p=0.9), [1, 2], [3] * i, seed=i) for i in range(4)]
    together = sample_rows(rows, sequences)
    alone = [sample_rows(row[None], [sequence])[0] for row, sequence in zip(rows, sequences, strict=True)]
    assert together == alone


def test_repetition_penalty_weighs_on_prompt_and_output_alike() -> None:
    params = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert sample([4.0, 3.0, 2.5], a_sequence(params, [0], [1])) == 2
    assert sample([-1.0, -1.5, -4.0], a_sequence(params, [0], [])) == 1  # a negative logit is multiplied, not divided


def test_presence_and_frequency_penalties_look_at_the_output_only() -> None:
    assert sample([4.0, 3.5], a_sequence(SamplingParams(temperature=0, presence_penalty=1.0), [0], [])) == 0
    assert sample([4.0, 3.5], a_sequence(SamplingParams(temperature=0, presence_penalty=1.0), [1], [0])) == 1
    twice = SamplingParams(temperature=0, frequency_penalty=0.3)
    assert sample([4.0, 3.5], a_sequence(twice, [1], [0])) == 0
    assert sample([4.0, 3.5], a_sequence(twice, [1], [0, 0])) == 1


def test_logit_bias_is_added_before_anything_is_compared() -> None:
    assert sample([4.0, 3.5], a_sequence(SamplingParams(temperature=0, logit_bias={1: 1.0}), [1], [])) == 1


def test_no_end_token_is_chosen_before_min_tokens() -> None:
    params = SamplingParams(temperature=0, min_tokens=2, stop_token_ids=[1])
    assert sample([9.0, 8.0, 0.0], a_sequence(params, [1], [5]), eos=(0,)) == 2
    assert sample([9.0, 8.0, 0.0], a_sequence(params, [1], [5, 5]), eos=(0,)) == 0


def test_min_tokens_without_any_end_token_changes_nothing() -> None:
    assert sample([9.0, 8.0], a_sequence(SamplingParams(temperature=0, min_tokens=2), [1], [])) == 0


def test_logprobs_are_the_models_own_and_hold_the_chosen_token() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    params = SamplingParams(temperature=0, logit_bias={2: 5.0}, logprobs=1)
    choice = only(sample_rows(logits, [a_sequence(params, [1], [])])[0])
    assert choice.token == 2
    assert choice.logprobs is not None
    assert list(choice.logprobs) == [2, 1]
    expected = logits[0].log_softmax(-1)
    assert choice.logprobs == pytest.approx({2: expected[2].item(), 1: expected[1].item()})


# Drafts

VOCAB = 12


def plainly(rows: torch.Tensor, params: SamplingParams, drafts: list[int], seed: int) -> list[Sampled]:
    """A token at a time, from a sequence that grows, as long as it grows by the drafts."""
    tokens: list[int] = []
    choices = []
    for row, draft in zip(rows, [*drafts, None], strict=True):
        choices.append(only(sample_rows(row[None], [a_sequence(params, [1, 2], [3, *tokens], seed)], eos=(0,))[0]))
        tokens.append(choices[-1].token)
        if tokens[-1] != draft:
            break
    return choices


def ban_what_came_last(output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
    logits[output_ids[-1]] = -torch.inf
    return logits


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    right=st.integers(0, 4),
    wrong=st.lists(st.integers(0, VOCAB - 1), max_size=3),
    params=st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.7, 2.0]),
        top_p=st.sampled_from([1.0, 0.8]),
        min_tokens=st.sampled_from([0, 3]),
        repetition_penalty=st.sampled_from([1.0, 1.8]),
        frequency_penalty=st.sampled_from([0.0, 0.9]),
        logit_bias=st.sampled_from([None, {4: 2.0}]),
        logits_processors=st.sampled_from([(), (ban_what_came_last,)]),
        logprobs=st.sampled_from([None, 2]),
    ),
)
def test_drafts_change_no_token(seed: int, right: int, wrong: list[int], params: SamplingParams) -> None:
    generator = torch.Generator().manual_seed(seed)
    guesses: list[int] = []
    rows = torch.randn(right + len(wrong) + 1, VOCAB, generator=generator) * 3
    for row in rows[:right]:  # what will be sampled, as a perfect drafter would guess it
        sequence = a_sequence(params, [1, 2], [3, *guesses], seed)
        guesses.append(only(sample_rows(row[None], [sequence], eos=(0,))[0]).token)
    drafts = [*guesses, *wrong]
    row = SampleRow(0, a_sequence(params, [1, 2], [3], seed), tuple(drafts))
    beside = SampleRow(1, a_sequence(SamplingParams(temperature=0), [1], []))
    result, other = Sampler((0,))(torch.cat((rows, rows[:1])), [row, beside])
    assert result == plainly(rows, params, drafts, seed)
    assert len(result) > right
    assert only(other).token == int(rows[0].argmax())


def test_a_failure_after_an_accepted_draft_waits_until_it_is_sure() -> None:
    params = SamplingParams(temperature=0)
    rows = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan], [1.0, 0.0]])
    (result,) = Sampler()(rows, [SampleRow(0, a_sequence(params, [0], []), (1, 0))])
    assert only(result).token == 1


def test_beams_are_left_to_beam_search() -> None:
    beam = a_sequence(SamplingParams(beam_width=2), [1], [])
    assert sample_rows(torch.zeros(1, 4), [beam]) == [[]]


# Failures


def raise_zero_division(output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
    raise ZeroDivisionError(f"after {output_ids}")


def return_nothing(output_ids: list[int], logits: torch.Tensor) -> None:
    logits[0] = 0.0


BANNED = [-torch.inf] * 4


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("logits", "knobs", "error", "message"),
    [
        ([0.0] * 4, {"logits_processors": [raise_zero_division]}, ZeroDivisionError, r"after \[5\]"),
        ([0.0] * 4, {"logits_processors": [return_nothing]}, SamplingFailed, "NoneType"),
        ([0.0] * 4, {"logits_processors": [lambda ids, x: x[:2]]}, SamplingFailed, r"\[2\].*\[4\]"),
        ([torch.nan] * 4, {}, SamplingFailed, "nan"),
        ([1.0, torch.nan, 0.0, 0.0], {}, SamplingFailed, "nan"),
        (BANNED, {}, SamplingFailed, "-inf"),
        (BANNED, {"logit_bias": {1: 50.0}}, SamplingFailed, "-inf"),
        ([-torch.inf, 2.0, -torch.inf, -torch.inf], {"min_tokens": 9, "stop_token_ids": [1]}, SamplingFailed, "-inf"),
        ([0.0] * 4, {"regex": "a"}, SamplingFailed, "grammars"),
    ],
)
def test_a_row_that_fails_harms_no_other(
    logits: list[float], knobs: dict[str, object], error: type[Exception], message: str, temperature: float
) -> None:
    healthy = [a_sequence(SamplingParams(temperature=temperature), [1], [2], seed) for seed in (3, 4)]
    rows = torch.tensor([[0.0, 1.0, 2.0, 0.5], logits, [2.0, 1.0, 0.0, 0.5]])
    failing = a_sequence(SamplingParams(temperature=temperature, **knobs), [1], [5])  # type: ignore[arg-type]
    before, result, after = sample_rows(rows, [healthy[0], failing, healthy[1]])
    assert isinstance(result, error)
    with pytest.raises(error, match=message):
        raise result
    assert [before, after] == sample_rows(rows[[0, 2]], healthy)


def test_a_logits_processor_sees_the_output_and_changes_nothing_but_the_choice() -> None:
    seen: list[list[int]] = []

    def processor(output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        seen.append(list(output_ids))
        output_ids.clear()  # a copy of its own
        logits[:] = -torch.inf
        logits[3] = 0.0
        return logits

    rows = torch.tensor([[9.0, 8.0, 7.0, 1.0]])
    sequence = a_sequence(
        SamplingParams(temperature=0, logits_processors=[processor, processor], logprobs=0), [1], [5, 6]
    )
    (result,) = sample_rows(rows, [sequence])
    choice = only(result)
    assert choice.token == 3
    assert seen == [[5, 6], [5, 6]]
    assert sequence.output_ids == [5, 6]
    assert choice.logprobs == pytest.approx({3: rows[0].log_softmax(-1)[3].item()}), "the model's own logits"
