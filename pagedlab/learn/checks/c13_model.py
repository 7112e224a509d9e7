"""What the checks of chapter 13 share: a tiny model that is served by the learner's parts and by the engine's own."""

from __future__ import annotations

from functools import cache
from typing import Any

from pagedlab.learn.judge import Judge

#: Too few pages for everybody at once: sequences are preempted, cached pages are evicted.
TIGHT: dict[str, Any] = {"page_size": 4, "num_pages": 24, "max_tokens_per_step": 24}


def prompts() -> list[list[int]]:
    """Eight prompts of 3 to 40 tokens, half of which begin alike."""
    shared = [(7 * i) % 251 for i in range(14)]
    own = [[(i * i + 31 * number) % 251 for i in range(3 + 5 * number)] for number in range(8)]
    return [shared[: 14 - number] + prompt if number % 2 else prompt for number, prompt in enumerate(own)][:8]


@cache
def tiny() -> Any:
    from pagedlab.models.tiny import tiny_random

    return tiny_random()


def answers(knobs: dict[str, Any], most_steps: int = 400) -> list[list[int]] | None:
    """The tokens of all prompts, greedily, from an engine with these knobs, which must be clean afterwards.

    None where so many steps were not enough: about 90 are.
    """
    from pagedlab.engine.engine import Engine
    from pagedlab.scheduling.sampling import SamplingParams

    engine = Engine(tiny(), **(TIGHT | knobs))
    params = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True)
    names = [engine.add_request(prompt, params) for prompt in prompts()]
    tokens: dict[str, list[int]] = {}
    for _ in range(most_steps):
        tokens |= {output.request_id: output.outputs[0].token_ids for output in engine.step()}
        if not engine.has_work:
            engine.check()
            return [tokens[name] for name in names]
    return None


@cache
def ours() -> list[list[int]]:
    return answers({}) or []


def same_tokens(judge: Judge, case: str, **parts: Any) -> None:
    """The model, served with ``parts`` of the learner's, says what it says without them."""
    judge.trying(case)
    found = answers(parts)
    if found is None:
        judge.wrong(expected="all requests end within 400 steps", actual="some are not done yet", case=case)
    for number, (theirs, wanted) in enumerate(zip(found or [], ours(), strict=True)):
        judge.row(theirs, wanted, f"{case}: the answer to prompt {number}", "tokens")
