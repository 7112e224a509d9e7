"""Where the time of a step goes: torch's profiler over a running engine.

    with profiled(llm.engine, trace_file="trace.json") as profile:
        llm.generate(prompts, params)
    profile.steps[0].by_kind()

The engine holds no code for this. For as long as a profile lasts, labels are put around what a step is made of, and the
profiler notes when each begins and ends. The model then runs layer by layer: the one native call that computes all
layers of a step on a CPU has no inside that could be labelled. ``trace_file`` is in Chrome's trace format: Perfetto
(ui.perfetto.dev), chrome://tracing and others open it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from pagedlab.arithmetic import Chunk, ModelShape, StepCost, step_cost
from pagedlab.engine.engine import Engine
from pagedlab.models import layers, linear, llama
from pagedlab.scheduling.plan import StepPlan
from pagedlab_kernels.cpu import rows

STEP = "step"

# Else the profiler tells standard error of each start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


class Kind(StrEnum):
    """What a step spends time on. A label's text, and a lane of the timeline."""

    MATRICES = "matrices"
    ATTENTION = "attention over pages"
    BETWEEN = "norms, rotation, gates"
    SAMPLING = "sampling"
    SCHEDULING = "scheduling"
    REST = "the rest"  #: what lies between the labels: Python, embeddings, the step's tensors


@dataclass(frozen=True)
class Span:
    """One labelled stretch: seconds from the beginning of its step."""

    kind: Kind
    start: float
    seconds: float


@dataclass(frozen=True)
class ProfiledStep:
    """One step, ``start`` seconds after the first began."""

    start: float
    seconds: float
    chunks: tuple[Chunk, ...]
    spans: tuple[Span, ...]

    @property
    def num_tokens(self) -> int:
        return sum(chunk.num_tokens for chunk in self.chunks)

    def by_kind(self) -> dict[Kind, float]:
        """Seconds of each kind; they add up to the step's."""
        seconds = dict.fromkeys(Kind, 0.0)
        for span in self.spans:
            seconds[span.kind] += span.seconds
        seconds[Kind.REST] = self.seconds - sum(seconds.values())
        return seconds

    def cost(self, model: ModelShape, weight_bits: int = 32, kv_bits: int = 32) -> StepCost:
        """The FLOPs of the step and the least bytes that it had to move."""
        return step_cost(model, self.chunks, weight_bits, kv_bits)


@dataclass
class Profile:
    steps: list[ProfiledStep] = field(default_factory=list)

    def by_kind(self) -> dict[Kind, float]:
        """Seconds of each kind in all steps."""
        return {kind: sum(step.by_kind()[kind] for step in self.steps) for kind in Kind}


@contextmanager
def profiled(engine: Engine, trace_file: str | Path | None = None) -> Iterator[Profile]:
    """Profile every step that ``engine`` takes in the block; what was found is there after it."""
    found, plans = Profile(), list[StepPlan]()
    device = engine.model.device.type
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    engine.listeners.append(plans.append)
    try:
        with _labels(engine, wait=device == "cuda"), profile(activities=activities) as recorded:
            yield found
    finally:
        engine.listeners.remove(plans.append)
    if trace_file is not None:
        recorded.export_chrome_trace(str(trace_file))
    found.steps += _steps(recorded.events() or [], plans)


def _labels(engine: Engine, *, wait: bool) -> ExitStack:
    """A label around each part of a step, until the stack is closed. ``wait``: for what a GPU has been given to do."""
    places: list[tuple[Any, str, str]] = [
        (engine, "step", STEP),
        (engine.scheduler, "schedule", Kind.SCHEDULING),
        (engine.scheduler, "commit", Kind.SCHEDULING),
        (engine.runner, "attention", Kind.ATTENTION),
        (engine, "sampler", Kind.SAMPLING),
        (linear, "linear", Kind.MATRICES),
        (llama, "rotate_and_write", Kind.BETWEEN),
        (layers.RMSNorm, "forward", Kind.BETWEEN),
        (rows, "gated", Kind.BETWEEN),
    ]
    stack = ExitStack()
    for owner, name, text in places:
        stack.enter_context(patch.object(owner, name, _labelled(getattr(owner, name), str(text), wait=wait)))
    return stack


def _labelled(function: Callable[..., Any], text: str, *, wait: bool) -> Callable[..., Any]:
    @wraps(function, assigned=("__name__", "__doc__") if hasattr(function, "__name__") else ())
    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(text):
            result = function(*args, **kwargs)
            if wait:
                torch.cuda.synchronize()
            return result

    return call


def _steps(events: Sequence[Any], plans: Sequence[StepPlan]) -> list[ProfiledStep]:
    """From the profiler's events, in microseconds, to steps with their spans, in seconds."""
    ranges = [(event.name, event.time_range.start / 1e6, event.time_range.end / 1e6) for event in events]
    whole = sorted((start, stop) for name, start, stop in ranges if name == STEP)
    kinds = {str(kind) for kind in Kind}
    labelled = sorted((start, stop, Kind(name)) for name, start, stop in ranges if name in kinds)
    steps = []
    for (start, stop), plan in zip(whole, plans, strict=True):
        inside = [(a, b, kind) for a, b, kind in labelled if start <= a and b <= stop]
        spans = tuple(Span(kind, a - start, b - a) for a, b, kind in inside)
        chunks = tuple(Chunk(chunk.start, chunk.num_tokens) for chunk in plan.chunks)
        steps.append(ProfiledStep(start - whole[0][0], stop - start, chunks, spans))
    return steps
