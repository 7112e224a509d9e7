"""What chapter 07 has a learner write serves a real model: same tokens as with the engine's own parts."""

from __future__ import annotations

import pytest

from pagedlab.engine.engine import Engine
from pagedlab.learn import workbook
from pagedlab.learn.exercise import find
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.sampling import SamplingParams


def part(exercise: str, name: str) -> object:
    """Ours, as it stands in the solutions."""
    return getattr(workbook.load(workbook.solutions_folder() / find(exercise).file), name)


def answers(engine: Engine) -> tuple[dict[str, list[int]], int]:
    """What each of six requests is told, and how often somebody gave way."""
    wish = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
    for number in range(6):
        engine.add_request([number + 1] * (3 + 5 * number), wish, priority=number % 3)
    told, preempted = {}, 0

    def count(plan: object) -> None:
        nonlocal preempted
        preempted += len(plan.preempted)  # type: ignore[attr-defined]

    engine.listeners.append(count)
    while engine.has_work:
        for output in engine.step():
            if output.finished:
                told[output.request_id] = list(output.outputs[0].token_ids)
    engine.check()
    return told, preempted


@pytest.mark.parametrize("num_pages", [12, 100])
def test_the_learners_scheduler_victim_and_watermark_serve_a_model(tiny_model: LoadedModel, num_pages: int) -> None:
    knobs = {"page_size": 4, "num_pages": num_pages, "max_tokens_per_step": 16, "max_sequences": 4}
    wanted, _ = answers(Engine(tiny_model, **knobs))
    learned = Engine(
        tiny_model,
        victim=part("07.victim", "least_urgent"),
        admission=part("07.admission", "Watermark")(0.1),
        **knobs,
    )
    theirs = learned.scheduler
    learned.scheduler = part("07.scheduler", "BudgetScheduler")(
        learned.manager,
        theirs.limits,
        admission=theirs.admission,
        victim=theirs.victim,
        eos_token_ids=theirs.eos_token_ids,
    )
    found, preempted = answers(learned)
    assert found == wanted and len(found) == 6
    assert (preempted > 0) == (num_pages == 12)
