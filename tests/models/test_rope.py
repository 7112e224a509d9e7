"""RoPE's frequencies, plain and scaled, against those of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pagedlab.models.rope import Rope, read_rope

KINDS: dict[str, dict[str, st.SearchStrategy[float]]] = {
    "linear": {},
    "llama3": {"low_freq_factor": st.floats(0.5, 2), "high_freq_factor": st.floats(2.5, 8)},
    "yarn": {"beta_fast": st.floats(4, 64), "beta_slow": st.floats(0.25, 2)},
}


@st.composite
def rope_settings(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(list(KINDS)))
    settings = {
        "rope_type": kind,
        "rope_theta": draw(st.floats(100, 1e7)),
        "factor": draw(st.floats(1, 64)),
        **{name: draw(values) for name, values in KINDS[kind].items()},
    }
    if kind != "linear":
        settings["original_max_position_embeddings"] = draw(st.integers(128, 32768))
    if kind == "yarn" and draw(st.booleans()):
        settings["attention_factor"] = draw(st.floats(0.5, 2))
    return settings


@given(rope_settings(), st.sampled_from([16, 64, 80, 128, 256]))
def test_frequencies_and_magnitude_are_those_of_transformers(settings: dict[str, Any], head_dim: int) -> None:
    config = LlamaConfig(head_dim=head_dim, max_position_embeddings=65536, rope_parameters=dict(settings))
    expected, magnitude = ROPE_INIT_FUNCTIONS[settings["rope_type"]](config, torch.device("cpu"))
    rope = read_rope(settings, theta=None, max_context=65536)
    ours = torch.tensor(rope.frequencies(head_dim))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=0)
    assert rope.magnitude == pytest.approx(magnitude)


@given(st.floats(100, 1e7), st.sampled_from(list(KINDS)), st.floats(1, 64))
def test_scaling_slows_pairs_and_never_hastens_one(theta: float, kind: str, factor: float) -> None:
    settings = {"rope_type": kind, "factor": factor, "low_freq_factor": 1, "high_freq_factor": 4}
    if kind != "llama3":
        settings = {"rope_type": kind, "factor": factor}
    plain = Rope(theta).frequencies(64)
    scaled = read_rope(settings, theta=theta, max_context=8192).frequencies(64)
    for before, after in zip(plain, scaled, strict=True):
        assert before / factor * (1 - 1e-9) <= after <= before * (1 + 1e-9)
