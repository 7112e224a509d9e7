"""The decoder against transformers' LlamaForCausalLM, computed through pages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.models.catalog import LoadedModel
from pagedlab.models.llama import rope_angles, rotate
from pagedlab.models.rope import Rope
from pagedlab.models.tiny import TINY_CONFIG, random_model, tiny_random
from pagedlab.models.weights import load_folder
from pagedlab_kernels.batch import PagedBatch
from tests.models.independent import logits_in_chunks, plain_attention, random_llama, transformers_from_gguf

SHAPES = {
    "tied, group 1": {"tie_word_embeddings": True, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16},
    "untied, group 3": {"num_attention_heads": 6, "num_key_value_heads": 2},
    "tied, group 4": {"tie_word_embeddings": True, "num_attention_heads": 4, "num_key_value_heads": 1},
    "untied, heads wider than hidden": {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 20},
    "another RoPE base and epsilon": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rms_norm_eps": 1e-3,
    },
}


def tokens_of(length: int, vocab_size: int = 97) -> list[int]:
    return torch.randint(vocab_size, (length,), generator=torch.Generator().manual_seed(length)).tolist()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_equal_those_of_transformers_however_the_prompt_is_chunked(
    shape: dict[str, object], tmp_path: Path
) -> None:
    theirs = random_llama(**shape)
    theirs.save_pretrained(tmp_path)
    ours = load_folder(tmp_path, progress=False).model
    tokens = tokens_of(41)
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
    for chunk_sizes in ([41], [7, 16, 1, 17], [1] * 41):
        for page_size in (1, 8, 64):
            [logits] = logits_in_chunks(ours, [tokens], chunk_sizes, page_size)
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 31), st.sampled_from([1, 3, 16]))
def test_a_sequence_computes_the_same_alone_and_in_a_batch(lengths: list[int], chunk_size: int, page_size: int) -> None:
    model = tiny_random().model
    sequences = [tokens_of(length, 256) for length in lengths]
    steps = [chunk_size] * -(-max(lengths) // chunk_size)
    together = logits_in_chunks(model, sequences, steps, page_size)
    for tokens, logits in zip(sequences, together, strict=True):
        [alone] = logits_in_chunks(model, [tokens], [len(tokens)], 16)
        torch.testing.assert_close(logits, alone, atol=1e-4, rtol=0)


def one_page_batch(token_ids: list[int]) -> PagedBatch:
    length = len(token_ids)
    return PagedBatch(
        token_ids=torch.tensor(token_ids),
        positions=torch.arange(length),
        slots=torch.arange(length),
        query_start=torch.tensor([0, length], dtype=torch.int32),
        context_lens=torch.tensor([length], dtype=torch.int32),
        page_tables=torch.zeros(1, 1, dtype=torch.int32),
        page_size=length,
        max_query_len=length,
        max_context_len=length,
    )


@torch.inference_mode()
def test_only_rows_that_sample_reach_the_last_norm_and_the_head(tiny_model: LoadedModel) -> None:
    model, config = tiny_model.model, tiny_model.config
    kv = [torch.zeros(2, 1, config.num_kv_heads, 12, config.head_dim) for _ in range(config.num_layers)]
    batch, seen = one_page_batch(tokens_of(12)), []
    hook = model.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    try:
        every_row = model(batch, kv, plain_attention, torch.arange(12))
        two_rows = model(batch, kv, plain_attention, torch.tensor([11, 4]))
    finally:
        hook.remove()
    assert seen == [12, 2]
    assert two_rows.shape == (2, config.vocab_size)
    torch.testing.assert_close(two_rows, every_row[[11, 4]], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_bfloat16_weights_keep_bfloat16_pages_and_give_float32_logits() -> None:
    wide, narrow = random_model(TINY_CONFIG), random_model(TINY_CONFIG, dtype=torch.bfloat16)
    batch, outputs = one_page_batch(tokens_of(12)), []
    for model, dtype in ((wide, torch.float32), (narrow, torch.bfloat16)):
        kv = [torch.zeros(2, 1, 2, 12, 16, dtype=dtype) for _ in range(3)]
        outputs.append(model(batch, kv, plain_attention, torch.tensor([11])))
    assert outputs[1].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(*outputs).item() > 0.99


@settings(deadline=None)
@given(st.integers(0, 8000), st.integers(0, 8000), st.integers(0, 100))
def test_a_rotated_dot_product_depends_on_the_distance_alone(first: int, second: int, shift: int) -> None:
    q, k = torch.randn(2, 1, 1, 64, generator=torch.Generator().manual_seed(0))

    def score(at_q: int, at_k: int) -> float:
        rotated = [rotate(x, rope_angles(torch.tensor([p]), Rope(1e5), 64)) for x, p in ((q, at_q), (k, at_k))]
        return (rotated[0] * rotated[1]).sum().item()

    # Positions are float32 angles: one at 8,000 radians is known to a two-thousandth.
    assert score(first, second) == pytest.approx(score(first + shift, second + shift), abs=0.05)


def test_the_same_seed_gives_the_same_tiny_model_and_another_seed_another() -> None:
    first, again, other = (dict(tiny_random(seed).model.named_parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_a_tied_head_is_the_embedding_and_takes_no_memory_of_its_own() -> None:
    tied = random_model(dataclasses.replace(TINY_CONFIG, tie_word_embeddings=True))
    untied = random_model(TINY_CONFIG)
    embedding = TINY_CONFIG.vocab_size * TINY_CONFIG.hidden_size
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (tied, untied)]
    assert sizes[1] - sizes[0] == embedding


def test_smollm2_logits_equal_those_of_transformers_with_independently_read_weights(
    smollm2: LoadedModel, smollm2_path: Path
) -> None:
    assert smollm2.tokenizer is not None
    theirs = transformers_from_gguf(smollm2_path)
    text = smollm2.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Name 3 prime numbers, s'il vous plaît 🙂"}]
    )
    tokens = smollm2.tokenizer.encode(text)
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
    [logits] = logits_in_chunks(smollm2.model, [tokens], [20, *[1] * 5, len(tokens)], 16)
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)
