"""Several LoRA adapters over one base, in one engine and in one step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidRequest
from pagedlab.models.catalog import LoadedModel, load_model
from tests.engine.oracle import greedy
from tests.models.test_lora import ALL_PROJECTIONS, merged, write_adapter

GREEDY = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True)
PROMPT = list(b"the same words for everybody")


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[LoadedModel, dict[str | None, LoadedModel], dict[str, Path]]:
    """The base, the model that each adapter amounts to, and the adapters' folders."""
    base = load_model("tiny-random", dtype=torch.float64)
    amounts: dict[str | None, LoadedModel] = {None: base}
    folders = {}
    for seed, name in enumerate(("poet", "clerk")):
        folders[name] = tmp_path_factory.mktemp(name)
        deltas = write_adapter(folders[name], base.model, seed=seed, target_modules=ALL_PROJECTIONS)
        amounts[name] = replace(base, model=merged(base.model, deltas))
    return base, amounts, folders


@pytest.mark.parametrize("prefix_cache", ["none", "hash", "radix"])
@pytest.mark.parametrize("max_tokens_per_step", [7, 512])
def test_each_request_is_answered_by_its_own_adapter(
    served: tuple[LoadedModel, dict[str | None, LoadedModel], dict[str, Path]],
    prefix_cache: str,
    max_tokens_per_step: int,
) -> None:
    base, amounts, folders = served
    llm = LLM(
        base,
        adapters=folders,
        page_size=4,
        prefix_cache=prefix_cache,
        max_tokens_per_step=max_tokens_per_step,
        attention="reference",
        kv_dtype="float32",
    )
    names = ["poet", None, "clerk", "poet"]
    outputs = llm.generate([PROMPT] * 4, GREEDY, adapter=names)
    want = {name: greedy(amounts[name], PROMPT, 10) for name in amounts}
    assert len(set(map(tuple, want.values()))) == 3, "the adapters were meant to make a difference"
    assert [output.outputs[0].token_ids for output in outputs] == [want[name] for name in names]
    llm.check()


def test_pages_of_one_adapter_are_no_prefix_for_another(
    served: tuple[LoadedModel, dict[str | None, LoadedModel], dict[str, Path]],
) -> None:
    """Behaviour 16."""
    base, _, folders = served
    llm = LLM(base, adapters=folders, page_size=4, attention="reference", kv_dtype="float32")
    for name, hits in [("poet", 0), ("clerk", 0), (None, 0), ("poet", 24), ("clerk", 24), (None, 24)]:
        assert llm.generate(PROMPT, GREEDY, adapter=name)[0].num_cached_tokens == hits
    llm.engine.add_request(PROMPT, GREEDY, salt=("poet", None), request_id="sly")
    outputs = {}
    while llm.engine.has_work:
        outputs.update({output.request_id: output for output in llm.engine.step()})
    assert outputs["sly"].num_cached_tokens == 0, "no salt is equal to an adapter's"


def test_an_adapter_that_is_not_there_is_refused_by_name(
    served: tuple[LoadedModel, dict[str | None, LoadedModel], dict[str, Path]],
) -> None:
    base, _, folders = served
    with pytest.raises(InvalidRequest, match="'singer'; this engine has 'poet', 'clerk'"):
        LLM(base, adapters=folders).generate(PROMPT, GREEDY, adapter="singer")
    with pytest.raises(InvalidRequest, match="adapters="):
        LLM(base).generate(PROMPT, GREEDY, adapter="poet")
    with pytest.raises(InvalidRequest, match="3 prompts came with 2 adapter"):
        LLM(base, adapters=folders).generate([PROMPT] * 3, GREEDY, adapter=["poet", "clerk"])
