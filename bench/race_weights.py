"""One model, written twice in float32, so that every engine of the race computes with the same weights.

What the catalogue's file stores in four bits is unpacked once, and the unpacked numbers go into a folder as Hugging
Face writes it and into a GGUF file. Both lie in the user's cache (2 × 540 MB for SmolLM2-135M).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from pagedlab.models.catalog import cache_folder, fetch, load_model
from pagedlab.models.config import ModelConfig
from pagedlab.models.weights import LoadedModel


def folder_of(name: str) -> Path:
    """The safetensors folder of a model in the catalogue, or of "tiny-random"; written if it is not there."""
    target = cache_folder() / "race" / name
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            unfinished = Path(scratch) / name
            unfinished.mkdir()
            write_folder(load_model(name), unfinished)
            unfinished.replace(target)  # only a whole folder gets the name
    return target


def write_folder(loaded: LoadedModel, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(huggingface_config(loaded.config), indent=1), encoding="utf-8")
    tensors = {
        name if name.startswith("lm_head") else f"model.{name}": weight.contiguous()
        for name, weight in loaded.model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def huggingface_config(config: ModelConfig) -> dict[str, Any]:
    """config.json of a plain Llama, which is all that the race needs."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "hidden_act": config.activation,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope.theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "max_position_embeddings": config.max_context,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
        "dtype": "float32",
    }


def gguf_of(name: str) -> Path:
    """The catalogue's GGUF file with every tensor in float32, llama.cpp's row order kept; written if not there."""
    target = cache_folder() / "race" / f"{name}-f32.gguf"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            unfinished = Path(scratch) / target.name
            write_gguf(fetch(name), unfinished)
            unfinished.replace(target)
    return target


def write_gguf(source: Path, target: Path) -> None:
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, "llama", use_temp_file=False)
    for field in reader.fields.values():
        # The header's own counts and the architecture are the writer's business; the type of the weights changes.
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        of_items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=of_items)
    writer.add_file_type(LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
