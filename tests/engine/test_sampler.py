"""Sampling against a plain-Python reading of each rule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.engine.sampler import Sampler, choose, uniform
from pagedlab.errors import InvalidRequest
from pagedlab.scheduling.request import Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams

logit_rows = st.lists(st.floats(-8, 8).map(lambda x: round(x, 3)), min_size=2, max_size=40, unique=True)


def a_sequence(params: SamplingParams, prompt: list[int], output: list[int], seed: int = 0) -> Sequence:
    request = Request("r", prompt, params, seed=seed)
    sequence = Sequence(0, request, 0, [*prompt, *output])
    request.sequences.append(sequence)
    return sequence


def sample(logits: list[float], sequence: Sequence, eos: tuple[int, ...] = ()) -> int:
    return Sampler(eos)(torch.tensor([logits]), [sequence])[0].token


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
    together = Sampler()(rows, sequences)
    alone = [Sampler()(row[None], [sequence])[0] for row, sequence in zip(rows, sequences, strict=True)]
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
    choice = Sampler()(logits, [a_sequence(params, [1], [])])[0]
    assert choice.token == 2
    assert choice.logprobs is not None
    assert list(choice.logprobs) == [2, 1]
    expected = logits[0].log_softmax(-1)
    assert choice.logprobs == pytest.approx({2: expected[2].item(), 1: expected[1].item()})


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"max_tokens": 0},
        {"max_tokens": 2, "min_tokens": 3},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": 2.0},
        {"repetition_penalty": 0.0},
        {"presence_penalty": math.inf},
        {"logit_bias": {3: math.nan}},
        {"stop": ["ok", ""]},
        {"logprobs": -1},
    ],
)
def test_an_impossible_wish_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=list(wrong)[-1]):
        SamplingParams(**wrong)  # type: ignore[arg-type]
