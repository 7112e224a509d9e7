"""A profile says where a step's time went, and leaves the engine as it was."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch

from pagedlab.arithmetic import Chunk
from pagedlab.engine.ceilings import measured_machine
from pagedlab.engine.llm import LLM
from pagedlab.engine.profiling import Kind, Profile, profiled
from pagedlab.models import layers, linear, llama
from pagedlab.models.tiny import TINY_CONFIG, tiny_random
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab_kernels.cpu import rows

PROMPTS = [[10, 20, 30, 40, 50], [7] * 9]
WISH = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True)
ORIGINALS = linear.linear, llama.rotate_and_write, layers.RMSNorm.forward, rows.gated


def tiny_llm() -> LLM:
    return LLM(tiny_random(), page_size=4, num_pages=64, prefix_cache="none", device="cpu", progress=False)


def profile_of(llm: LLM) -> tuple[Profile, list[list[int]]]:
    with profiled(llm.engine) as profile:
        outputs = llm.generate(PROMPTS, WISH, progress=False)
    return profile, [output.outputs[0].token_ids for output in outputs]


def test_each_step_is_there_with_what_it_computed():
    profile, _ = profile_of(tiny_llm())
    assert [step.num_tokens for step in profile.steps] == [14, 2, 2, 2]
    assert profile.steps[0].chunks == (Chunk(0, 5), Chunk(0, 9))
    assert profile.steps[2].chunks == (Chunk(6, 1), Chunk(10, 1))


def test_every_matrix_and_every_attention_of_a_step_is_labelled_once():
    profile, _ = profile_of(tiny_llm())
    for step in profile.steps:
        kinds = [span.kind for span in step.spans]
        assert kinds.count(Kind.MATRICES) == 4 * TINY_CONFIG.num_layers + 1, "q, k and v are one, so are gate and up"
        assert kinds.count(Kind.ATTENTION) == TINY_CONFIG.num_layers
        assert kinds.count(Kind.SAMPLING) == 1 and kinds.count(Kind.SCHEDULING) == 2


def test_spans_lie_one_behind_the_other_within_their_step_and_kinds_add_up_to_it():
    profile, _ = profile_of(tiny_llm())
    for step in profile.steps:
        assert all(a.start + a.seconds <= b.start + 1e-7 for a, b in pairwise(step.spans))
        assert step.spans[0].start >= 0 and step.spans[-1].start + step.spans[-1].seconds <= step.seconds + 1e-7
        by_kind = step.by_kind()
        assert sum(by_kind.values()) == pytest.approx(step.seconds)
        assert min(by_kind.values()) >= 0
    assert all(a.start + a.seconds <= b.start + 1e-7 for a, b in pairwise(profile.steps))
    assert sum(profile.by_kind().values()) == pytest.approx(sum(step.seconds for step in profile.steps))


def test_the_cost_of_a_step_is_that_of_its_chunks():
    profile, _ = profile_of(tiny_llm())
    prefill, decode = (step.cost(TINY_CONFIG) for step in profile.steps[:2])
    assert prefill.flops > decode.flops and prefill.intensity > decode.intensity


def test_tokens_are_the_same_and_no_label_stays():
    llm = tiny_llm()
    attention, sampler = llm.engine.runner.attention, llm.engine.sampler
    wanted = [output.outputs[0].token_ids for output in llm.generate(PROMPTS, WISH, progress=False)]
    _, tokens = profile_of(llm)
    assert tokens == wanted
    assert (linear.linear, llama.rotate_and_write, layers.RMSNorm.forward, rows.gated) == ORIGINALS
    assert llm.engine.runner.attention is attention and llm.engine.sampler is sampler
    assert not {"step"} & vars(llm.engine).keys() and not llm.engine.listeners


def test_an_error_in_the_block_is_passed_on_and_no_label_stays():
    llm = tiny_llm()
    with pytest.raises(KeyError), profiled(llm.engine):
        raise KeyError
    assert linear.linear is ORIGINALS[0] and not llm.engine.listeners


def test_the_trace_file_is_one_that_viewers_open(tmp_path, capfd):
    llm = tiny_llm()
    with profiled(llm.engine, tmp_path / "trace.json"):
        llm.generate(PROMPTS, WISH, progress=False)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events if event.get("ph") == "X"]
    assert names.count("step") == 4 and names.count("attention over pages") == 4 * TINY_CONFIG.num_layers
    assert capfd.readouterr() == ("", "")


def test_the_roof_is_what_was_measured():
    machine = measured_machine()
    assert machine.peak_flops > 1e8 and machine.bandwidth > 1e7 and machine.memory_bytes > 2**30
    assert measured_machine(dtype=torch.float64).peak_flops < 1.5 * machine.peak_flops, "twice the width, half the pace"
