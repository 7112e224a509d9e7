"""Weights in panels, joined, in 8 and 4 bits: the model says the same, or nearly, and its weights can be had back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidConfig
from pagedlab.models.catalog import LoadedModel, load_model
from pagedlab.models.linear import Linear, Stack
from pagedlab_kernels.cpu.huge_pages import HUGE_PAGE
from pagedlab_kernels.cpu.native import why_not_native
from tests.engine.oracle import logits_of_last

needs_compiler = pytest.mark.skipif(why_not_native() is not None, reason="there is no C compiler")
PROMPT = list(b"Pages are shared by those who begin alike.")


@needs_compiler
def test_a_packed_model_says_what_it_said_before() -> None:
    loaded = load_model("tiny-random")
    before, weights = logits_of_last(loaded, PROMPT), {k: w.clone() for k, w in loaded.model.state_dict().items()}
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    for _ in range(2):  # again does no harm
        loaded.model.prepare()
    unpacked = [linear.name for linear in loaded.model.linears() if not linear.packed]
    assert unpacked == ["embed_tokens", "lm_head"], "259 tokens are not a number of whole panels"
    torch.testing.assert_close(logits_of_last(loaded, PROMPT), before, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.model.state_dict().items())
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == count


@needs_compiler
def test_joined_weights_are_slices_of_one_and_take_no_more_memory() -> None:
    model = load_model("tiny-random").model
    model.prepare()
    attention = model.layers[0].self_attn
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    assert len({part.weight.untyped_storage().data_ptr() for part in parts}) == 1


@needs_compiler
@pytest.mark.parametrize("weights", [None, "int8", "int4"])
def test_all_packed_weights_lie_in_one_memory_and_stay_there(weights: str | None) -> None:
    model = load_model("tiny-random", weights=weights).model
    model.prepare()
    packed = [linear.weight for linear in model.linears() if linear.packed]
    first, last = min(w.data_ptr() for w in packed), max(w.data_ptr() + w.nbytes for w in packed)
    assert len({weight.untyped_storage().data_ptr() for weight in packed}) == 1
    assert last - first < sum(weight.nbytes for weight in packed) + 64 * len(packed)
    assert all(weight.data_ptr() % 64 == 0 for weight in packed)
    model.prepare()
    assert [linear.weight.data_ptr() for linear in model.linears() if linear.packed] == [w.data_ptr() for w in packed]


@pytest.mark.parametrize("packed", [True, False])
def test_a_weight_that_somebody_replaces_is_the_one_that_counts(packed: bool) -> None:
    a, b, x = Linear(8, 16), Linear(8, 32), torch.randn(3, 8)
    for part in (a, b):
        torch.nn.init.normal_(part.weight)
        if packed:
            part.pack()
    stack = Stack(a, b)
    stack.join()
    for one, other in zip(stack(x), (a(x), b(x)), strict=True):
        torch.testing.assert_close(one, other)
    b.weight = torch.nn.Parameter(torch.ones(32, 8), requires_grad=False)
    torch.testing.assert_close(stack(x)[1], x.sum(1, keepdim=True).expand(3, 32))


@needs_compiler
def test_eight_bits_move_the_logits_a_little_and_take_a_quarter() -> None:
    whole, narrow = load_model("tiny-random"), load_model("tiny-random", weights="int8")
    before, after = logits_of_last(whole, PROMPT), logits_of_last(narrow, PROMPT)
    assert 0 < (after - before).norm() / before.norm() < 0.03
    stored = [
        sum(linear.weight.nbytes for linear in m.model.layers.modules() if isinstance(linear, Linear))
        for m in (whole, narrow)
    ]
    assert stored[0] == 4 * stored[1]
    llm = LLM("tiny-random", weights="int8")
    assert llm.generate(PROMPT, SamplingParams(max_tokens=4, ignore_eos=True), progress=False)[0].finished


@needs_compiler
def test_four_bits_that_were_rounded_move_the_logits_and_take_five() -> None:
    whole, narrow = load_model("tiny-random"), load_model("tiny-random", weights="int4")
    before, after = logits_of_last(whole, PROMPT), logits_of_last(narrow, PROMPT)
    assert 0.1 < (after - before).norm() / before.norm() < 0.5
    matrices = [linear for linear in narrow.model.layers.modules() if isinstance(linear, Linear)]
    for linear in matrices:
        assert 8 * linear.weight.nbytes == 5 * linear.matrix.numel()
        assert len(linear.matrix.unflatten(1, (-1, 32))[7, 1].unique()) <= 16
    llm = LLM("tiny-random", weights="int4")
    assert llm.generate(PROMPT, SamplingParams(max_tokens=4, ignore_eos=True), progress=False)[0].finished


@needs_compiler
def test_a_four_bit_file_is_taken_as_it_is_and_says_bit_for_bit_what_it_says_in_float32(smollm2: LoadedModel) -> None:
    narrow, prompt = load_model("smollm2-135m", weights="int4", progress=False), list(range(500, 540))
    for loaded in (smollm2, narrow):
        loaded.model.prepare()
    assert torch.equal(logits_of_last(narrow, prompt), logits_of_last(smollm2, prompt))
    params = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, logprobs=2)
    outputs = [LLM(loaded).generate([prompt, "Pages are"], params, progress=False) for loaded in (smollm2, narrow)]
    for one, other in zip(*outputs, strict=True):
        assert one.outputs[0].token_ids == other.outputs[0].token_ids
        assert one.outputs[0].logprobs == other.outputs[0].logprobs
    expected = smollm2.model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in narrow.model.state_dict().items())


@needs_compiler
def test_while_it_runs_a_model_in_four_bits_takes_so_many_and_nothing_else_stays_in_memory() -> None:
    before = bytes_of_live_tensors()
    llm = LLM("smollm2-135m", weights="int4", num_pages=64, progress=False)
    llm.generate(["Pages", list(range(300, 360))], SamplingParams(max_tokens=4, ignore_eos=True), progress=False)
    model = llm.engine.runner.model
    layers = [linear for linear in model.layers.modules() if isinstance(linear, Linear)]
    assert 8 * sum(linear.weight.nbytes for linear in layers) == 5 * sum(linear.matrix.numel() for linear in layers)
    assert 8 * model.embed_tokens.weight.nbytes == 8.5 * model.embed_tokens.matrix.numel()
    pages = sum(layer.nbytes for layer in llm.engine.kv.layers)
    assert bytes_of_live_tensors() - before - pages < model.weight_bytes + HUGE_PAGE + 2**20
    assert 8 * model.weight_bytes < 5.8 * sum(weight.numel() for weight in model.state_dict().values())


def bytes_of_live_tensors() -> int:
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor) and one.device.type == "cpu"]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_fewer_bits_are_refused_where_nothing_can_multiply_with_them(weights: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"weights='{weights}'.*torch\.bfloat16"):
        load_model("tiny-random", weights=weights, dtype=torch.bfloat16)
    with pytest.raises(InvalidConfig, match="there are 'int8' and 'int4'"):
        load_model("tiny-random", weights="int3")
    with pytest.raises(InvalidConfig, match="tell load_model"):
        LLM(load_model("tiny-random"), weights=weights)


def test_without_a_compiler_the_model_says_the_same_and_fewer_bits_are_refused(tmp_path: Path) -> None:
    program = (
        "from pagedlab import LLM, SamplingParams\n"
        "params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)\n"
        "print(LLM('tiny-random').generate('Pages', params, progress=False)[0].outputs[0].token_ids)\n"
        "for weights in 'int8', 'int4':\n"
        "    try: LLM('tiny-random', weights=weights)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = os.environ | {"PAGEDLAB_NATIVE": "0", "PAGEDLAB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    here = LLM("tiny-random").generate("Pages", params, progress=False)[0].outputs[0].token_ids
    tokens, *refusals = done.stdout.splitlines()
    assert tokens == str(here)
    assert len(refusals) == 2
    assert all(refusal.startswith("InvalidConfig") and "switched off" in refusal for refusal in refusals)
