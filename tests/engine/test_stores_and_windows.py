"""How keys and values are kept, and how long: formats in fewer bits, and windows behind which pages are given back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.models.catalog import LoadedModel, load_model
from pagedlab.models.tiny import TINY_CONFIG, tiny_random
from pagedlab_kernels.kv_format import KV_DTYPES
from tests.engine.oracle import generated

PROMPTS = [[number, *b"pages are like books", number] for number in range(5)]
GREEDY = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True, seed=0)


@pytest.fixture(scope="module")
def exact_model() -> LoadedModel:
    return load_model("tiny-random", dtype=torch.float64)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_in_every_format_tokens_do_not_depend_on_how_they_were_scheduled(
    exact_model: LoadedModel, kv_dtype: str, preemption: str
) -> None:
    """Behaviours 25 and 35: scales and zeros move with their pages."""
    ample = LLM(exact_model, kv_dtype=kv_dtype, attention="reference", page_size=4)
    tight = LLM(
        exact_model,
        kv_dtype=kv_dtype,
        attention="reference",
        page_size=4,
        num_pages=24,
        num_host_pages=64,
        preemption=preemption,
        max_tokens_per_step=13,
    )
    want = [output.outputs[0].token_ids for output in ample.generate(PROMPTS, GREEDY)]
    outputs = tight.generate(PROMPTS, GREEDY)
    assert sum(output.num_preemptions for output in outputs) > 0
    assert (tight.engine.manager.stats.swaps > 0) == (preemption == "swap")
    assert [output.outputs[0].token_ids for output in outputs] == want


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_the_native_kernel_serves_every_format(tiny_model: LoadedModel, kv_dtype: str) -> None:
    llm = LLM(tiny_model, kv_dtype=kv_dtype, attention="cpu", page_size=4)
    other = LLM(tiny_model, kv_dtype=kv_dtype, attention="reference", page_size=4)
    prompt = PROMPTS[0]
    assert (
        llm.generate(prompt, GREEDY)[0].outputs[0].token_ids == other.generate(prompt, GREEDY)[0].outputs[0].token_ids
    )


@pytest.mark.parametrize("prefix_cache", ["none", "hash", "radix"])
@pytest.mark.parametrize("window", [1, 4, 9])
def test_a_sequence_longer_than_the_pool_is_served_where_every_layer_has_a_window(
    window: int, prefix_cache: str
) -> None:
    """Behaviour 31."""
    config = replace(TINY_CONFIG, layer_windows=(window,) * TINY_CONFIG.num_layers)
    loaded = tiny_random(config=config, dtype=torch.float64)
    llm = LLM(
        loaded, attention="reference", page_size=4, num_pages=10, max_tokens_per_step=16, prefix_cache=prefix_cache
    )
    for layer in llm.engine.kv.layers:
        layer.fill_(torch.nan)
    params = SamplingParams(temperature=0, max_tokens=70, ignore_eos=True, seed=0)
    output = llm.generate(PROMPTS[0], params)[0]
    assert len(PROMPTS[0]) + 70 > 10 * 4
    assert output.outputs[0].token_ids == generated(loaded, PROMPTS[0], params)
    llm.check()
    assert llm.engine.manager.pool.num_used == 0


def test_with_a_layer_that_sees_everything_no_page_is_given_back(exact_model: LoadedModel) -> None:
    loaded = tiny_random(config=replace(TINY_CONFIG, layer_windows=(4, None, 4)), dtype=torch.float64)
    llm = LLM(loaded, attention="reference", page_size=4)
    held = []
    llm.engine.listeners.append(lambda plan: held.append(llm.engine.manager.pool.num_used))
    assert llm.generate(PROMPTS[0], GREEDY)[0].outputs[0].token_ids == generated(loaded, PROMPTS[0], GREEDY)
    assert max(held) >= (len(PROMPTS[0]) + 18) // 4
