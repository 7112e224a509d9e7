"""Every family against transformers, logit by logit, on random checkpoints that transformers wrote."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pagedlab.models.config import ModelConfig
from pagedlab.models.llama import LlamaModel
from pagedlab.models.rope import Rope
from pagedlab.models.weights import LoadedModel, load_folder
from pagedlab_kernels import get_attention
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.reference import gather_attention
from tests.models.checkpoints import CHECKPOINTS, random_checkpoint
from tests.models.independent import logits_in_chunks, plain_attention

#: Longer than every window, and than every context that a RoPE is stretched from.
TOKENS = torch.randint(97, (41,), generator=torch.Generator().manual_seed(0)).tolist()


def written_and_loaded(name: str, folder: Path) -> tuple[Tensor, LoadedModel]:
    """transformers' logits ``[T, vocab]`` for TOKENS, and our model, in float64, from the shards that it wrote."""
    theirs = random_checkpoint(*CHECKPOINTS[name])
    theirs.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    with torch.inference_mode():
        expected = theirs.double()(torch.tensor([TOKENS])).logits[0]
    return expected, load_folder(folder, dtype=torch.float64, progress=False)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_logits_equal_those_of_transformers_at_once_in_chunks_and_token_by_token(name: str, tmp_path: Path) -> None:
    expected, ours = written_and_loaded(name, tmp_path)
    [at_once] = logits_in_chunks(ours.model, [TOKENS], [41], 16)
    [of_another] = logits_in_chunks(ours.model, [TOKENS[11:34]], [23], 5)
    # In float64, but transformers rounds to float32 in every norm: to 2e-5 here, of logits that spread over 10.
    torch.testing.assert_close(at_once.double(), expected, atol=1e-4, rtol=0)
    ways = (([7, 16, 1, 17], 3, plain_attention), ([1] * 41, 4, plain_attention), ([9, 1, 31], 4, gather_attention))
    for chunk_sizes, page_size, attention in ways:
        both = logits_in_chunks(ours.model, [TOKENS, TOKENS[11:34]], chunk_sizes, page_size, attention=attention)
        for logits, alone in zip(both, (at_once, of_another), strict=True):
            torch.testing.assert_close(logits, alone, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_weights_in_fewer_bits_give_nearly_the_same_logits(name: str, tmp_path: Path) -> None:
    expected, ours = written_and_loaded(name, tmp_path)
    [narrow] = logits_in_chunks(ours.model.float(), [TOKENS], [20, 1, 20], 16, attention=get_attention("cpu"))
    torch.testing.assert_close(narrow.double(), expected, atol=5e-4, rtol=0)
    [narrower] = logits_in_chunks(ours.model.bfloat16(), [TOKENS], [41], 16)
    assert torch.nn.functional.cosine_similarity(narrower.double(), expected).mean() > 0.97


OTHERWISE: list[tuple[str, dict[str, Any]]] = [
    ("Llama 3.1, its RoPE", {"rope": Rope(1000.0)}),
    ("Llama, linear RoPE", {"rope": Rope(1000.0)}),
    ("Llama, YaRN", {"rope": Rope(1000.0)}),
    ("Mistral, a window", {"layer_windows": ()}),
    ("Mistral, a window", {"layer_windows": (8, 8, 8)}),
    ("Qwen2, a window from the second layer on", {"layer_windows": (9, 9, 9)}),
    ("Gemma 3", {"layer_windows": (9, None, 9, 9)}),
    ("Gemma 3", {"local_rope": None}),
    ("Gemma 3", {"unit_offset_norms": False}),
    ("Gemma 3", {"activation": "silu"}),
    ("Gemma 3", {"embedding_scale": 1.0}),
    ("Gemma 3", {"attention_scale": None}),
    ("Gemma 3, logits capped", {"logit_softcap": None}),
    ("Mixtral", {"experts_per_token": 3}),
    ("Mixtral", {"renormalise_experts": False}),
    ("Qwen3-MoE, weights as they are", {"renormalise_experts": True}),
]


@pytest.mark.parametrize(("name", "change"), OTHERWISE)
def test_every_setting_that_makes_a_family_shows_in_its_logits(
    name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    expected, ours = written_and_loaded(name, tmp_path)
    other = LlamaModel(dataclasses.replace(ours.config, **change))
    other.load_state_dict(ours.model.state_dict(), assign=True)
    [logits] = logits_in_chunks(other, [TOKENS], [41], 16)
    assert (logits - expected).abs().max() > 0.1


WINDOWS = {
    "Mistral, a window": ((9, 9, 9), 9),
    "Mistral, no window": ((None,) * 3, None),
    "Qwen2, a window from the second layer on": ((None, 9, 9), None),
    "Qwen2, a window in all layers": ((9, 9, 9), 9),
    "Gemma 3": ((9, None, 9, None), None),
    "Qwen3-MoE, weights as they are": ((9, 9, 9), 9),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_pages_behind_the_window_can_be_given_back_only_if_every_layer_has_one(name: str) -> None:
    config = ModelConfig.from_huggingface(random_checkpoint(*CHECKPOINTS[name]).config.to_dict())
    assert (config.layer_windows, config.window) == WINDOWS[name]


def test_the_largest_of_the_windows_counts() -> None:
    config = ModelConfig.from_huggingface(random_checkpoint(*CHECKPOINTS["Mistral, a window"]).config.to_dict())
    assert dataclasses.replace(config, layer_windows=(4, 16, 9)).window == 16


def test_an_attention_function_that_knows_no_windows_serves_a_model_without_any(tmp_path: Path) -> None:
    def without(q: Tensor, kv: Tensor, batch: PagedBatch, scale: float) -> Tensor:
        return plain_attention(q, kv, batch, scale)

    expected, ours = written_and_loaded("Qwen3", tmp_path)
    [logits] = logits_in_chunks(ours.model, [TOKENS], [41], 16, attention=without)  # type: ignore[arg-type]
    torch.testing.assert_close(logits.double(), expected, atol=1e-4, rtol=0)
