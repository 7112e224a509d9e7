"""The engine as something that ``pagedlab.scheduling.load`` can drive: real tokens, real seconds or virtual ones."""

from __future__ import annotations

from pagedlab.engine.engine import Engine
from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.load import Offer
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.scheduler import Scheduler


class EngineUnderLoad:
    """``engine`` must have nothing to do when it is handed over, and no drafter: a step brings a sequence one token."""

    def __init__(self, engine: Engine) -> None:
        if engine.has_work or engine.scheduler.drafter is not None:
            raise InvalidConfig(
                "an engine with requests in it, or with a drafter, was to be put under load; give it none"
            )
        self._engine, self._plan = engine, StepPlan(-1)
        engine.listeners.append(self._note)

    @property
    def scheduler(self) -> Scheduler:
        return self._engine.scheduler

    def submit(self, name: str, offer: Offer) -> None:
        if offer.allowed not in (None, offer.num_output):
            raise InvalidConfig(
                f"an answer of {offer.num_output} tokens was offered, of {offer.allowed} allowed; when a real model "
                "ends by itself cannot be told beforehand: leave allowed away"
            )
        self._engine.add_request(list(offer.prompt), offer.params, request_id=name, salt=offer.salt)

    def step(self) -> StepPlan:
        self._engine.step()
        return self._plan

    def close(self) -> None:
        """Listen no longer."""
        self._engine.listeners.remove(self._note)

    def _note(self, plan: StepPlan) -> None:
        self._plan = plan
