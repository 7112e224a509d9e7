"""What the model is compared with: other people's readers and decoder, and an attention too plain to be wrong."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from pagedlab.models.llama import LlamaModel
from pagedlab.models.lora import LoraAdapter, LoraBatch
from pagedlab_kernels.batch import AttentionFn, PagedBatch
from pagedlab_kernels.kv_format import LayerKV


@functools.cache
def read_by_gguf_package(path: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(path)


def transformers_from_gguf(path: Path) -> LlamaForCausalLM:
    """LlamaForCausalLM with weights that the ``gguf`` package read, dequantised and found the names of."""
    reader = read_by_gguf_package(path)

    def field(name: str) -> int:
        return reader.get_field(f"llama.{name}").contents()

    heads = {
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
    }
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = LlamaConfig(
        **heads,
        vocab_size=field("vocab_size"),
        hidden_size=field("embedding_length"),
        num_hidden_layers=field("block_count"),
        intermediate_size=field("feed_forward_length"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
        tie_word_embeddings="output.weight" not in tensors,
    )
    model = LlamaForCausalLM(config).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    row_order = LlamaTensorProcessor(config=heads)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = tensors[names.get_name(name, try_suffixes=(".weight",))]
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            parameter.copy_(torch.from_numpy(np.array(row_order.process(values, tensor.name).weights)))
    return model


def random_llama(seed: int = 0, **settings: object) -> LlamaForCausalLM:
    """A small transformers Llama whose weights are large enough for its logits to differ."""
    torch.manual_seed(seed)
    defaults = {
        "vocab_size": 97,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 80,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,
    }
    return LlamaForCausalLM(LlamaConfig(**(defaults | settings))).eval()


def plain_attention(q: Tensor, kv: LayerKV, batch: PagedBatch, scale: float, *, window: int | None = None) -> Tensor:
    """Token by token, as the formula is written."""
    assert isinstance(kv, Tensor)
    out = torch.empty_like(q)
    group = q.shape[1] // kv.shape[2]
    for sequence in range(batch.num_sequences):
        first, end = batch.query_start[sequence : sequence + 2].tolist()
        length = int(batch.context_lens[sequence])
        pages = batch.page_tables[sequence, : -(-length // batch.page_size)].long()
        # [2, pages, Hkv, P, D] -> [2, H, length, D]
        keys, values = kv[:, pages].transpose(1, 2).flatten(2, 3)[:, :, :length].repeat_interleave(group, dim=1)
        for row in range(first, end):
            stop = length - end + row + 1
            seen = slice(0 if window is None else max(0, stop - window), stop)
            scores = torch.einsum("hd,hnd->hn", q[row], keys[:, seen]) * scale
            out[row] = torch.einsum("hn,hnd->hd", scores.softmax(-1), values[:, seen])
    return out


@torch.inference_mode()
def logits_in_chunks(
    model: LlamaModel,
    sequences: Sequence[Sequence[int]],
    chunk_sizes: Sequence[int],
    page_size: int,
    *,
    attention: AttentionFn = plain_attention,
    adapters: Sequence[LoraAdapter | None] | None = None,
) -> list[Tensor]:
    """Logits ``[length, vocab]`` of every token of each sequence.

    Every step takes the next ``chunk_sizes[step]`` tokens of all sequences together. Pages lie in random order, and
    hold NaN until something is written, and again once they lie behind the window: to read a slot too many shows in
    the result. ``adapters``: one for each sequence.
    """
    config = model.config
    num_pages = [-(-len(tokens) // page_size) for tokens in sequences]
    order = torch.randperm(sum(num_pages), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    tables = [pages.tolist() for pages in order.split(num_pages)]
    shape = (2, sum(num_pages), config.num_kv_heads, page_size, config.head_dim)
    kv = [model.embed_tokens.weight.new_full(shape, float("nan")) for _ in range(config.num_layers)]
    logits: list[list[Tensor]] = [[] for _ in sequences]
    done = 0
    for chunk_size in chunk_sizes:
        chunks = [range(min(done, len(s)), min(done + chunk_size, len(s))) for s in sequences]
        if config.window is not None:
            for index, chunk in enumerate(chunks):
                for page in range(max(0, chunk.start - config.window + 1) // page_size):
                    if chunk and tables[index][page] >= 0:
                        for layer in kv:
                            layer[:, tables[index][page]] = float("nan")
                        tables[index][page] = -1
        active = [index for index, chunk in enumerate(chunks) if chunk]
        positions = [position for index in active for position in chunks[index]]
        lengths = [len(chunks[index]) for index in active]
        width = max(num_pages)
        batch = PagedBatch(
            token_ids=torch.tensor([sequences[index][position] for index in active for position in chunks[index]]),
            positions=torch.tensor(positions),
            slots=torch.tensor(
                [
                    tables[index][position // page_size] * page_size + position % page_size
                    for index in active
                    for position in chunks[index]
                ]
            ),
            query_start=torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32),
            context_lens=torch.tensor([chunks[index].stop for index in active], dtype=torch.int32),
            page_tables=torch.tensor(
                [tables[index] + [-1] * (width - num_pages[index]) for index in active], dtype=torch.int32
            ),
            page_size=page_size,
            max_query_len=max(lengths),
            max_context_len=max(chunks[index].stop for index in active),
        )
        lora = None
        if adapters is not None:
            lora = LoraBatch.of_chunks([(adapters[index], len(chunks[index])) for index in active])
        rows = model(batch, kv, attention, torch.arange(batch.num_tokens), lora)
        for index, part in zip(active, rows.split(lengths), strict=True):
            logits[index].append(part)
        done += chunk_size
    return [torch.cat(parts) for parts in logits]
