"""When the vllm preset lets a prompt in."""

from __future__ import annotations

import pytest

from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.systems import VLLM


@pytest.mark.parametrize(("reserve", "waiting"), [(True, ["b"]), (False, [])])
def test_a_prompt_comes_in_when_the_whole_of_it_fits_or_if_told_so_its_first_chunk(
    reserve: bool, waiting: list[str]
) -> None:
    system = VLLM(block_size=4, max_num_batched_tokens=9, scheduler_reserve_full_isl=reserve)
    scheduler = system.scheduler(32)
    for name, prompt in {"a": [1] * 9, "b": list(range(2, 24))}.items():  # three pages of eight; six, in chunks of two
        scheduler.add(Request(name, prompt, SamplingParams(max_tokens=8, ignore_eos=True)))
        plan = scheduler.schedule()
        scheduler.commit(plan, [[1] for _ in plan.samples])
    assert [sequence.request.id for sequence in scheduler.waiting] == waiting
