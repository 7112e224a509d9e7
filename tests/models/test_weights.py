"""Weights from files: all of them, in the right order and shape, or a typed error."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaForCausalLM

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel
from pagedlab.models.safetensors_folder import SafetensorsFolder
from pagedlab.models.weights import LoadedModel, load_folder, load_gguf
from tests.models.files import write_gguf
from tests.models.independent import random_llama

HIDDEN_MULTIPLE_OF_32 = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "num_attention_heads": 4}


def weights_of(theirs: LlamaForCausalLM) -> dict[str, Tensor]:
    return {name.removeprefix("model."): weight for name, weight in theirs.named_parameters()}


def assert_same_weights(ours: LoadedModel, theirs: dict[str, Tensor]) -> None:
    found = dict(ours.model.named_parameters())
    assert found.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_a_folder_written_by_transformers_loads_back_equal(tied: bool, shard_size: str, tmp_path: Path) -> None:
    theirs = random_llama(tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_size == "20KB")
    loaded = load_folder(tmp_path, progress=False)
    assert_same_weights(loaded, weights_of(theirs))
    assert loaded.tokenizer is None
    assert (loaded.name, loaded.config.eos_token_ids) == (tmp_path.name, (2,))


def test_weights_are_loaded_in_the_type_asked_for(tmp_path: Path) -> None:
    theirs = random_llama().to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    assert_same_weights(load_folder(tmp_path, dtype=torch.bfloat16, progress=False), weights_of(theirs))
    assert_same_weights(load_folder(tmp_path, progress=False), weights_of(theirs.float()))


@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_file_loads_with_the_row_order_of_q_and_k_undone(tied: bool, tmp_path: Path) -> None:
    theirs = random_llama(tie_word_embeddings=tied)
    loaded = load_gguf(write_gguf(tmp_path / "model.gguf", theirs, tokenizer=False), progress=False)
    assert_same_weights(loaded, weights_of(theirs))
    assert loaded.config.tie_word_embeddings == tied
    assert loaded.tokenizer is None


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0])
def test_quantised_rows_land_where_they_belong(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    theirs = random_llama(**HIDDEN_MULTIPLE_OF_32)
    loaded = load_gguf(write_gguf(tmp_path / "model.gguf", theirs, weight_type=kind), progress=False)
    # Blocks run along a row, so quantising before or after rows change places is the same.
    expected = {
        name: torch.from_numpy(gguf.dequantize(gguf.quantize(weight.detach().numpy(), kind), kind))
        if weight.ndim == 2
        else weight
        for name, weight in weights_of(theirs).items()
    }
    assert_same_weights(loaded, expected)


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q4_0])
def test_groups_of_four_bits_are_kept_and_mean_what_they_mean_in_float32(
    kind: gguf.GGMLQuantizationType, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "model.gguf", random_llama(**HIDDEN_MULTIPLE_OF_32, vocab_size=96), weight_type=kind)
    kept, whole = (load_gguf(path, keep_groups=keep, progress=False).model for keep in (True, False))
    assert all(linear.packed for linear in kept.linears())
    expected = whole.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in kept.state_dict().items())
    assert kept.state_dict().keys() == expected.keys()


def test_eight_bits_of_a_file_are_kept_only_where_four_are_not_wanted(tmp_path: Path) -> None:
    theirs = random_llama(**HIDDEN_MULTIPLE_OF_32, vocab_size=96)
    path = write_gguf(tmp_path / "model.gguf", theirs, weight_type=gguf.GGMLQuantizationType.Q8_0)
    model = load_gguf(path, keep_groups=True, progress=False).model
    assert [linear.name for linear in model.linears() if linear.packed] == ["embed_tokens", "lm_head"]


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", random_llama(), leave_out="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight are missing"):
        load_gguf(path, progress=False)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", random_llama(), metadata={"feed_forward_length": 81})
    with pytest.raises(CorruptFile, match=r"gate_proj\.weight have shape \[80, 48\]; \[81, 48\] is expected"):
        load_gguf(path, progress=False)


def test_weights_without_a_place_are_refused_rather_than_left_out(tmp_path: Path) -> None:
    random_llama().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(48)}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedModel, match=r"q_proj\.bias"):
        load_folder(tmp_path, progress=False)


def test_a_tied_head_that_is_stored_twice_and_old_rope_angles_do_no_harm(tmp_path: Path) -> None:
    theirs = random_llama(tie_word_embeddings=True)
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(tensors, tmp_path / "model.safetensors")
    assert_same_weights(load_folder(tmp_path, progress=False), weights_of(theirs))


def test_a_folder_without_safetensors_says_which_files_it_looked_for(tmp_path: Path) -> None:
    random_llama().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        load_folder(tmp_path, progress=False)


def test_a_folder_without_a_config_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_folder(tmp_path, progress=False)


def test_a_shard_that_is_missing_is_a_model_error(tmp_path: Path) -> None:
    random_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    min(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_folder(tmp_path, progress=False)


def test_an_index_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CorruptFile, match="not a file beside it"):
        SafetensorsFolder(tmp_path)


def one_tensor(**changes: object) -> bytes:
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes
    return with_header(json.dumps({"weight": entry}).encode())


def with_header(header: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if claimed is None else claimed) + header + bytes(16)


LIES = {
    "an empty file": b"",
    "seven bytes": bytes(7),
    "a header of exabytes": with_header(b"{}", 2**62),
    "a header longer than the file": with_header(b"{}", 1000),
    "a header that is not JSON": with_header(b"{weight"),
    "a header that is not text": with_header(b"\xff\xfe\x00"),
    "a header that is a list": with_header(b"[]"),
    "a header nested beyond reason": with_header(b"[" * 100_000),
    "a number of 10,000 digits": with_header(b'{"a":' + b"9" * 10_000 + b"}"),
    "a tensor that is a number": with_header(b'{"a":1}'),
    "a negative size": one_tensor(shape=[-2, -2]),
    "a size that is a fraction": one_tensor(shape=[2.0, 2]),
    "a size that is true": one_tensor(shape=[True, 4]),
    "a size too large": one_tensor(shape=[2**40, 2**40]),
    "offsets that run backwards": one_tensor(data_offsets=[16, 0]),
    "a negative offset": one_tensor(data_offsets=[-16, 0]),
    "offsets beyond the end": one_tensor(data_offsets=[2**40, 2**40 + 16]),
    "fewer bytes than the shape needs": one_tensor(shape=[4, 4]),
    "tensors that overlap": with_header(
        json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [at, at + 8]} for name, at in
                    (("a", 0), ("b", 4))}).encode()
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_safetensors_header_that_lies_is_refused(lie: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(lie)
    with pytest.raises(CorruptFile):
        SafetensorsFolder(tmp_path)


def test_a_safetensors_header_of_the_same_make_that_does_not_lie_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(one_tensor())
    folder = SafetensorsFolder(tmp_path)
    assert folder.shapes == {"weight": (2, 2)}
    assert torch.equal(folder.tensor("weight"), torch.zeros(2, 2))


def test_packed_integer_weights_are_unsupported_and_not_corrupt(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(one_tensor(dtype="I32"))
    with pytest.raises(UnsupportedModel, match="I32"):
        SafetensorsFolder(tmp_path)
