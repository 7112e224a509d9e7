"""tiny-random: a seeded model with untrained weights, for tests and for arithmetic. It needs no download."""

from __future__ import annotations

import torch
from torch import Tensor

from pagedlab.models.chat_template import ChatTemplate
from pagedlab.models.config import ModelConfig
from pagedlab.models.llama import LlamaModel
from pagedlab.models.rope import Rope
from pagedlab.models.tokenizer import Tokenizer, byte_letters, byte_level_bpe
from pagedlab.models.weights import LoadedModel

_SPECIAL_TOKENS = ["<|bos|>", "<|im_start|>", "<|im_end|>"]

#: Nothing here is a power of two that need not be: code that only works for such shapes fails on it.
TINY_CONFIG = ModelConfig(
    architecture="llama",
    vocab_size=256 + len(_SPECIAL_TOKENS),
    hidden_size=96,
    num_layers=3,
    num_heads=6,
    num_kv_heads=2,
    head_dim=16,
    intermediate_size=160,
    rms_norm_eps=1e-5,
    rope=Rope(10_000.0),
    tie_word_embeddings=False,
    max_context=4096,
    bos_token_id=256,
    eos_token_ids=(258,),
)

_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_random(seed: int = 0, config: ModelConfig = TINY_CONFIG, *, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """The same seed gives the same weights. Its token ids 0 to 255 are bytes, so any text can be a prompt."""
    return LoadedModel("tiny-random", config, random_model(config, seed, dtype), byte_tokenizer())


def random_model(config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> LlamaModel:
    """Norms of about one, small biases; every other weight normal with the deviation that keeps activations near unit
    size."""
    with torch.device("meta"):
        model = LlamaModel(config)
    generator = torch.Generator().manual_seed(seed)

    def random(key: str, shape: torch.Size) -> Tensor:
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            return noise * shape[-1] ** -0.5
        return 0.1 * noise + (0.0 if key.endswith("bias") or config.unit_offset_norms else 1.0)

    weights = {key: random(key, weight.shape).to(dtype) for key, weight in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    return model


def byte_tokenizer() -> Tokenizer:
    """Every byte of UTF-8 is a token, whose id is its value; the special tokens follow."""
    backend = byte_level_bpe([*byte_letters(), *_SPECIAL_TOKENS], [], special=_SPECIAL_TOKENS)
    return Tokenizer(
        backend,
        bos_id=TINY_CONFIG.bos_token_id,
        eos_ids=TINY_CONFIG.eos_token_ids,
        chat_template=ChatTemplate(_CHAT_TEMPLATE, {}),
    )
