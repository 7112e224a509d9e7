"""All layers in one native call, against the same layers one by one: the same bits."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidQuantity
from pagedlab.models.config import ModelConfig
from pagedlab.models.llama import LlamaModel
from pagedlab.models.native import native_decoder
from pagedlab.models.tiny import TINY_CONFIG, random_model
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.attention import cpu_attention
from pagedlab_kernels.cpu.native import why_not_native
from pagedlab_kernels.kv_format import KV_DTYPES, PLAIN, LayerKV, QuantizedKV, as_layer, quantize

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="there is no C compiler")

TINY_MIXTURE = replace(TINY_CONFIG, num_experts=4, experts_per_token=2)

KINDS = {
    "llama": TINY_CONFIG,
    "biases everywhere": replace(TINY_CONFIG, qkv_bias=True, output_bias=True, mlp_bias=True),
    "windows in some layers, with angles of their own": replace(
        TINY_CONFIG, layer_windows=(5, None, 5), local_rope=replace(TINY_CONFIG.rope, theta=100.0)
    ),
    "GELU, offset norms, a scale of its own": replace(
        TINY_CONFIG, activation="gelu_tanh", unit_offset_norms=True, attention_scale=0.3
    ),
    "norms of queries and keys": replace(TINY_CONFIG, qk_norm=True),
    "norms all over, offset": replace(TINY_CONFIG, qk_norm=True, sandwich_norms=True, unit_offset_norms=True),
}


def a_step(
    config: ModelConfig, rows: list[int], kv_dtype: str = "float32"
) -> tuple[PagedBatch, list[LayerKV], list[LayerKV]]:
    """Sequences whose last tokens, so many, are in the step, and two equal caches that hold those before them."""
    page_size, before = 4, 6
    contexts = [before + count for count in rows]
    widths = [-(-context // page_size) for context in contexts]
    pages = iter(torch.randperm(sum(widths) + 3).tolist())
    tables = torch.full((len(rows), max(widths)), -(2**30), dtype=torch.int32)
    for row, width in enumerate(widths):
        tables[row, :width] = torch.tensor([next(pages) for _ in range(width)])
    sequence = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
    positions = torch.cat([torch.arange(before, context) for context in contexts])
    vectors = (2, sum(widths) + 3, config.num_kv_heads, page_size)
    layers = [write_all(torch.randn(*vectors, config.head_dim), kv_dtype) for _ in range(config.num_layers)]
    batch = PagedBatch(
        token_ids=torch.randint(256, (len(positions),)),
        positions=positions,
        slots=tables[sequence, positions // page_size].long() * page_size + positions % page_size,
        query_start=torch.tensor([0, *rows]).cumsum(0).int(),
        context_lens=torch.tensor(contexts, dtype=torch.int32),
        page_tables=tables,
        page_size=page_size,
        max_query_len=max(rows),
        max_context_len=max(contexts),
    )
    return (
        batch,
        [as_layer(kv_dtype, parts) for parts in layers],
        [as_layer(kv_dtype, copies(parts)) for parts in layers],
    )


def write_all(x: torch.Tensor, kv_dtype: str) -> list[torch.Tensor]:
    return [x.to(PLAIN[kv_dtype])] if kv_dtype in PLAIN else list(quantize(x, kv_dtype))


def copies(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    return [part.clone() for part in parts]


def parts_of(layers: list[LayerKV]) -> list[torch.Tensor]:
    return [part for layer in layers for part in (layer.parts if isinstance(layer, QuantizedKV) else (layer,))]


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("rows", [[1], [1, 1, 1, 1], [9, 1, 3], [40]])
@pytest.mark.parametrize("narrow", [None, LlamaModel.to_int8, LlamaModel.to_int4])
def test_one_call_leaves_the_bits_that_layer_by_layer_leaves(
    config: ModelConfig, rows: list[int], narrow: Callable[[LlamaModel], None] | None
) -> None:
    model = random_model(config)
    if narrow is not None:
        narrow(model)
    compare(model, rows, "float32")


@pytest.mark.parametrize("kv_dtype", KV_DTYPES[1:])
@pytest.mark.parametrize("rows", [[1, 1], [9, 1, 3]])
def test_pages_of_every_format_are_read_and_written_in_one_call(kv_dtype: str, rows: list[int]) -> None:
    compare(random_model(TINY_CONFIG), rows, kv_dtype)


def compare(model: LlamaModel, rows: list[int], kv_dtype: str) -> None:
    model.prepare()
    batch, kv, other_kv = a_step(model.config, rows, kv_dtype)
    wanted = torch.arange(batch.num_tokens)
    assert native_decoder(model, kv) is not None
    logits = model(batch, kv, cpu_attention, wanted)
    one_by_one = model(batch, other_kv, lambda *a, **b: cpu_attention(*a, **b), wanted)
    assert logits.isfinite().all() and torch.equal(logits, one_by_one)
    assert all(torch.equal(part, other) for part, other in zip(parts_of(kv), parts_of(other_kv), strict=True))


def test_experts_go_layer_by_layer() -> None:
    model = random_model(TINY_MIXTURE)
    model.prepare()
    batch, kv, _ = a_step(TINY_MIXTURE, [1, 2])
    assert native_decoder(model, kv) is None
    assert model(batch, kv, cpu_attention, torch.tensor([0])).isfinite().all()


def test_a_weight_or_a_cache_that_is_replaced_is_noticed() -> None:
    model = random_model(TINY_CONFIG)
    model.prepare()
    batch, kv, _ = a_step(TINY_CONFIG, [2])

    def logits() -> torch.Tensor:
        result: torch.Tensor = model(batch, kv, cpu_attention, torch.tensor([1]))
        return result

    before = logits()
    assert torch.equal(logits(), before)
    model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(torch.zeros(96, 160), requires_grad=False)
    assert not torch.equal(logits(), before)
    model.prepare()
    kv[0] = torch.randn(kv[0].shape)
    after = logits()
    one_by_one = model(batch, kv, lambda *a, **b: cpu_attention(*a, **b), torch.tensor([1]))
    assert torch.equal(after, one_by_one)


@pytest.mark.parametrize("wanted", [[], [3], [0, 12], [12, 3, 3]])
def test_wanted_rows_are_what_they_are_among_all(wanted: list[int]) -> None:
    model = random_model(replace(TINY_CONFIG, vocab_size=272))  # whole panels: a row's logits depend on no other
    model.prepare()
    batch, kv, other_kv = a_step(TINY_CONFIG, [9, 1, 3])
    rows = torch.tensor(wanted, dtype=torch.int64)
    every_row = model(batch, kv, cpu_attention, torch.arange(13))
    assert torch.equal(model(batch, other_kv, cpu_attention, rows), every_row[rows])
    assert all(torch.equal(part, other) for part, other in zip(parts_of(kv), parts_of(other_kv), strict=True))
    for wrong in (-1, 13):
        with pytest.raises(IndexError, match="a step of 13"):
            model(batch, kv, cpu_attention, torch.tensor([0, wrong]))


def test_a_slot_and_a_page_outside_the_pool_are_refused() -> None:
    model = random_model(TINY_CONFIG)
    model.prepare()
    batch, kv, _ = a_step(TINY_CONFIG, [2])
    wanted = torch.tensor([1])
    with pytest.raises(InvalidQuantity, match="the pool has slots 0 to"):
        model(replace(batch, slots=batch.slots + 10**6), kv, cpu_attention, wanted)
    with pytest.raises(InvalidQuantity, match="a page that is not there"):
        model(replace(batch, page_tables=batch.page_tables + 10**6), kv, cpu_attention, wanted)


def test_a_cache_ends_with_its_engine_though_the_model_lives_on() -> None:
    from pagedlab.models.catalog import load_model

    loaded = load_model("tiny-random")
    llm = LLM(loaded)
    llm.generate("x", SamplingParams(max_tokens=2), progress=False)
    cache = weakref.ref(llm.engine.kv.layers[0])
    del llm
    gc.collect()
    assert cache() is None
