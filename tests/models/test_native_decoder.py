"""All layers in one native call, against the same layers one by one: the same bits."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidQuantity
from pagedlab.models.config import ModelConfig
from pagedlab.models.native import native_decoder
from pagedlab.models.tiny import TINY_CONFIG, random_model
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.attention import cpu_attention
from pagedlab_kernels.cpu.native import why_not_native

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="there is no C compiler")

PLAIN = {
    "llama": TINY_CONFIG,
    "biases everywhere": replace(TINY_CONFIG, qkv_bias=True, output_bias=True, mlp_bias=True),
    "windows in some layers, with angles of their own": replace(
        TINY_CONFIG, layer_windows=(5, None, 5), local_rope=replace(TINY_CONFIG.rope, theta=100.0)
    ),
    "GELU, offset norms, a scale of its own": replace(
        TINY_CONFIG, activation="gelu_tanh", unit_offset_norms=True, attention_scale=0.3
    ),
}
OTHER = {"norms of queries and keys": {"qk_norm": True}, "sandwich norms": {"sandwich_norms": True}}


def a_step(config: ModelConfig, rows: list[int]) -> tuple[PagedBatch, list[torch.Tensor]]:
    """Sequences whose last tokens, so many, are in the step; those before them are in the cache already."""
    page_size, before = 4, 6
    contexts = [before + count for count in rows]
    widths = [-(-context // page_size) for context in contexts]
    pages = iter(torch.randperm(sum(widths) + 3).tolist())
    tables = torch.full((len(rows), max(widths)), -(2**30), dtype=torch.int32)
    for row, width in enumerate(widths):
        tables[row, :width] = torch.tensor([next(pages) for _ in range(width)])
    sequence = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
    positions = torch.cat([torch.arange(before, context) for context in contexts])
    shape = (2, sum(widths) + 3, config.num_kv_heads, page_size, config.head_dim)
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
    return batch, [torch.randn(shape) for _ in range(config.num_layers)]


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("rows", [[1], [1, 1, 1, 1], [9, 1, 3], [40]])
@pytest.mark.parametrize("int8", [False, True])
def test_one_call_leaves_the_bits_that_layer_by_layer_leaves(config: ModelConfig, rows: list[int], int8: bool) -> None:
    model = random_model(config)
    if int8:
        model.to_int8()
    model.prepare()
    batch, kv = a_step(config, rows)
    other_kv = [layer.clone() for layer in kv]
    wanted = torch.arange(batch.num_tokens)
    assert native_decoder(model, kv) is not None
    logits = model(batch, kv, cpu_attention, wanted)
    one_by_one = model(batch, other_kv, lambda *a, **b: cpu_attention(*a, **b), wanted)
    assert logits.isfinite().all() and torch.equal(logits, one_by_one)
    assert all(torch.equal(layer, other) for layer, other in zip(kv, other_kv, strict=True))


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER.keys())
def test_layers_of_another_kind_go_one_by_one(change: dict[str, bool]) -> None:
    config = replace(TINY_CONFIG, **change)  # type: ignore[arg-type]
    model = random_model(config)
    model.prepare()
    batch, kv = a_step(config, [1, 2])
    assert native_decoder(model, kv) is None
    assert model(batch, kv, cpu_attention, torch.tensor([0])).isfinite().all()


def test_a_weight_or_a_cache_that_is_replaced_is_noticed() -> None:
    model = random_model(TINY_CONFIG)
    model.prepare()
    batch, kv = a_step(TINY_CONFIG, [2])

    def logits() -> torch.Tensor:
        result: torch.Tensor = model(batch, kv, cpu_attention, torch.tensor([1]))
        return result

    before = logits()
    assert torch.equal(logits(), before)
    model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(torch.zeros(96, 160), requires_grad=False)
    assert not torch.equal(logits(), before)
    model.prepare()
    kv[0] = torch.randn_like(kv[0])
    after = logits()
    one_by_one = model(batch, kv, lambda *a, **b: cpu_attention(*a, **b), torch.tensor([1]))
    assert torch.equal(after, one_by_one)


def test_a_slot_and_a_page_outside_the_pool_are_refused() -> None:
    model = random_model(TINY_CONFIG)
    model.prepare()
    batch, kv = a_step(TINY_CONFIG, [2])
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
