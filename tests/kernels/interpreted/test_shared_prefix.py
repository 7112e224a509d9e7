"""Attending to a shared prefix once, interpreted, against the float64 oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pagedlab_kernels import get_attention
from pagedlab_kernels.reference import oracle_attention
from pagedlab_kernels.shared_prefix import WORTH, cascade_decode, pays
from pagedlab_kernels.trace_kernel import trace_kernel
from tests.kernels.cases import Case, a_step, stored, worst_error


def behind_a_prefix(
    own_tokens: list[int], pages: int, *, page_size: int = 16, kv_dtype: str = "float32", **shape: int
) -> Case:
    """Decode rows whose first ``pages`` pages are the same; each has so many tokens of its own behind them."""
    lengths = [pages * page_size + own for own in own_tokens]
    case = a_step(lengths, [1] * len(lengths), page_size=page_size, **shape)  # type: ignore[arg-type]
    tables = case.batch.page_tables
    tables[:, :pages] = tables[0, :pages].clone()
    case.batch = replace(case.batch, common_pages=pages)
    case.kv = stored(case.kv, kv_dtype)  # type: ignore[arg-type]
    return case


@pytest.mark.parametrize("page_size", [1, 16, 256])
@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim"), [(2, 2, 64), (9, 3, 64), (5, 1, 96), (8, 1, 256)])
def test_prefix_and_what_follows_it_give_what_the_whole_gives(
    num_heads: int, num_kv_heads: int, head_dim: int, page_size: int
) -> None:
    shape = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim}
    case = behind_a_prefix([1, 30, 7], max(2, 48 // page_size), page_size=page_size, **shape)
    attended = cascade_decode(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attended, case.expected()) < 1e-5


@pytest.mark.parametrize("kv_dtype", ["float32", "int8", "int4", "fp8"])
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of what is far beyond the cap: it works out
def test_more_sequences_than_a_block_holds_in_every_format_with_a_cap(kv_dtype: str) -> None:
    case = behind_a_prefix([5] * 12 + [0, 1], 4, kv_dtype=kv_dtype, num_heads=3, num_kv_heads=1, head_dim=64)
    attended = cascade_decode(case.q, case.kv, case.batch, case.scale, softcap=0.5)
    expected = oracle_attention(case.q, case.kv, case.batch, case.scale, softcap=0.5)
    assert worst_error(attended, expected) < 1e-5


def test_a_long_prefix_is_split_and_read_once_by_a_block_of_sequences() -> None:
    case = behind_a_prefix([3, 9], 40, num_heads=3, num_kv_heads=1, head_dim=64)
    assert isinstance(case.kv, torch.Tensor)
    with trace_kernel(kv=case.kv) as trace:
        attended = cascade_decode(case.q, case.kv, case.batch, case.scale)
    assert worst_error(attended, case.expected()) < 1e-5
    assert set(trace.traffic("kv").times) <= {0, 1} and not trace.strays()
    assert len(trace.launches[0].programs) == 2, "two splits of 256 tokens and more"


@pytest.mark.parametrize("common_pages", [0, 2])
def test_it_is_chosen_where_enough_bytes_are_saved(common_pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = behind_a_prefix([1, 30, 7], 2, num_heads=3, num_kv_heads=1, head_dim=64)
    assert not pays(case.q, case.kv, case.batch), "three sequences and 32 tokens"
    saved = (3 - 1) * 2 * 32 * 64 * 4
    monkeypatch.setattr("pagedlab_kernels.shared_prefix.WORTH", saved - 1)
    assert pays(case.q, case.kv, case.batch) and saved < WORTH
    with trace_kernel() as trace:
        batch = replace(case.batch, common_pages=common_pages)
        attended = get_attention("triton")(case.q, case.kv, batch, case.scale)
    assert worst_error(attended, case.expected()) < 1e-5
    shared = [launch for launch in trace.launches if launch.kernel == "shared_prefix_kernel"]
    assert len(shared) == (common_pages > 0)


def test_the_engine_tells_attention_what_its_sequences_share(monkeypatch: pytest.MonkeyPatch) -> None:
    from pagedlab import LLM, SamplingParams

    monkeypatch.setattr("pagedlab_kernels.shared_prefix.WORTH", 0)
    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    prompts = [[*range(40), tail] for tail in (50, 60, 70)]
    plain = LLM("tiny-random", page_size=8, attention="reference").generate(prompts, params, progress=False)
    llm = LLM("tiny-random", page_size=8, attention="triton")
    llm.generate(prompts[0], params, progress=False)
    with trace_kernel() as trace:
        shared = llm.generate(prompts, params, progress=False)
    assert [one.outputs[0].token_ids for one in shared] == [one.outputs[0].token_ids for one in plain]
    assert any(launch.kernel == "shared_prefix_kernel" for launch in trace.launches)
