"""What a request may wish for, and what is refused when it is made."""

from __future__ import annotations

import math

import pytest

from pagedlab.errors import InvalidRequest
from pagedlab.scheduling.sampling import CONSTRAINTS, SamplingParams


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
        {"length_penalty": math.inf},
        {"logits_processors": ["not a function"]},
        {"choice": []},
        {"choice": "yes"},
        {"choice": ["yes", 3]},
        {"beam_width": 0},
        {"beam_width": 1.5},
        {"n": 1.5},
        {"max_tokens": 2.5},
        {"seed": 0.5},
        {"length_penalty": 2000.0},
    ],
)
def test_an_impossible_wish_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=list(wrong)[-1]):
        SamplingParams(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("n", 2),
        ("top_k", 5),
        ("top_p", 0.9),
        ("min_p", 0.1),
        ("repetition_penalty", 1.1),
        ("presence_penalty", 0.1),
        ("frequency_penalty", 0.1),
        ("logit_bias", {1: 1.0}),
        ("min_tokens", 1),
        ("stop", "."),
        ("logprobs", 0),
        ("logits_processors", [print]),
        ("json_schema", {}),
        ("regex", "a"),
        ("choice", ["a"]),
        ("grammar", 'start: "a"'),
    ],
)
def test_beam_search_refuses_what_it_would_not_heed(knob: str, value: object) -> None:
    SamplingParams(**{knob: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=f"{knob}=.*deterministic"):
        SamplingParams(beam_width=2, **{knob: value})  # type: ignore[arg-type]


def test_beam_search_heeds_length_temperature_and_stop_ids() -> None:
    params = SamplingParams(
        beam_width=3, max_tokens=5, temperature=0.5, length_penalty=-0.5, stop_token_ids=[3], ignore_eos=True, seed=1
    )
    assert params.beam_width == 3


def test_a_request_has_one_constraint_at_most() -> None:
    assert SamplingParams().constraint is None
    for name, value in zip(CONSTRAINTS, ({}, "", ["x"], ""), strict=True):  # an empty one is one, too
        assert SamplingParams(**{name: value}).constraint == (name, value)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="json_schema and regex"):
        SamplingParams(json_schema={}, regex="a")
