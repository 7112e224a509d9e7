"""What a step costs, in seconds: from a roofline, or from steps that were measured.

A cost model is a function of a StepShape. It sees how much was computed and read, and never which sequence it was for:
so it is the same for a plan of the engine and for a plan of the simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pagedlab.arithmetic import (
    MACHINES,
    MODELS,
    Machine,
    ModelShape,
    decode_cost,
    kv_bytes_per_token,
    num_parameters,
    pool_pages,
    prefill_cost,
    weight_bytes,
)
from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.plan import StepPlan


class StepShape(NamedTuple):
    """How much one step is."""

    num_tokens: int  #: computed
    num_rows: int  #: of logits
    num_sequences: int
    context: int  #: tokens whose keys and values are read, once for each sequence
    pairs: int  #: of a token and one that it attends to, itself included
    num_copies: int = 0  #: pages copied before anything is computed


CostModel = Callable[[StepShape], float]


def shape_of(plan: StepPlan, num_quiet: int = 0, quiet_context: int = 0) -> StepShape:
    """The shape of ``plan``, in which one chunk may stand for ``num_quiet`` sequences that decode."""
    tokens = rows = sequences = num_quiet
    context = pairs = quiet_context
    for chunk in plan.chunks:
        if chunk.sequence.id < 0:
            continue
        start, stop = chunk.start, chunk.stop
        tokens += stop - start
        sequences += 1
        context += stop
        pairs += (stop * (stop + 1) - start * (start + 1)) // 2
    return StepShape(tokens, rows + len(plan.samples), sequences, context, pairs, len(plan.copies))


@dataclass(frozen=True)
class Roofline:
    """Seconds of a step of ``model`` on ``machine``: arithmetic and traffic overlap, the slower one is what is seen.

    It is :func:`pagedlab.arithmetic.step_cost` under :func:`pagedlab.arithmetic.seconds` (a test compares), as a share
    of the peaks that real kernels reach, and with what a step costs in any case. ``ranks`` machines hold a share of
    every matrix and page each; every layer then adds up its halves twice, over ``link`` bytes a second.
    """

    model: ModelShape
    machine: Machine
    weight_bits: int = 16
    kv_bits: int = 16
    ranks: int = 1
    flops_reached: float = 0.6  #: of the peak; an assumption
    bandwidth_reached: float = 0.8  #: of the peak; an assumption
    overhead: float = 2e-3  #: seconds of launches and of the control plane; an assumption
    link: float = 200e9  #: bytes a second between ranks, each way; an assumption
    _per: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.ranks < 1 or not (0 < self.flops_reached <= 1 and 0 < self.bandwidth_reached <= 1):
            raise InvalidConfig(
                f"ranks={self.ranks}, flops_reached={self.flops_reached} and bandwidth_reached="
                f"{self.bandwidth_reached} were asked for; ranks are 1 or more, shares are above 0 and at most 1"
            )
        one, two = (prefill_cost(self.model, tokens, self.weight_bits, self.kv_bits) for tokens in (1, 2))
        both = decode_cost(self.model, (0, 0), self.weight_bits, self.kv_bits)
        later = decode_cost(self.model, (1,), self.weight_bits, self.kv_bits)
        pair = later.flops - one.flops  # one token more to look back on
        token = two.flops - one.flops - 2 * pair
        row = both.flops - 2 * pair - 2 * token - (one.flops - pair - token)
        flop_seconds = 1 / (self.ranks * self.machine.peak_flops * self.flops_reached)
        byte_seconds = 1 / (self.ranks * self.machine.bandwidth * self.bandwidth_reached)
        cached = self.bytes_per_token * byte_seconds
        weights = (one.traffic - 2 * self.bytes_per_token) * byte_seconds
        reduced = 0.0
        if self.ranks > 1:  # a ring moves 2 (n - 1) / n of what is added up, in 16 bits
            moved = 2 * (self.ranks - 1) / self.ranks * 2 * self.model.num_layers * self.model.hidden_size * 2
            reduced = moved / self.link
        per = (token * flop_seconds, row * flop_seconds, pair * flop_seconds, cached, weights, reduced)
        object.__setattr__(self, "_per", per)

    @property
    def bytes_per_token(self) -> int:
        """What a token leaves in the cache, on all ranks together."""
        return kv_bytes_per_token(self.model.num_layers, self.model.num_kv_heads, self.model.head_dim, self.kv_bits)

    def __call__(self, shape: StepShape) -> float:
        token, row, pair, cached, weights, reduced = self._per
        arithmetic = token * shape.num_tokens + row * shape.num_rows + pair * shape.pairs
        traffic = weights + cached * (shape.context + shape.num_tokens)
        return self.overhead + max(arithmetic, traffic) + reduced * shape.num_tokens

    def num_pages(self, page_size: int, share: float = 0.9) -> int:
        """Pages that fit into ``share`` of the memory beside the weights. Raises InvalidConfig where none does."""
        memory = int(self.ranks * self.machine.memory_bytes * share)
        weights = weight_bytes(num_parameters(self.model), self.weight_bits)
        if weights + page_size * self.bytes_per_token > memory:
            raise InvalidConfig(
                f"weights of {weights / 1e9:.1f} GB were to be kept in {memory / 1e9:.1f} GB, with room for pages; "
                "take more ranks, a larger machine or fewer bits"
            )
        return pool_pages(memory, weights, page_size, self.bytes_per_token)


def named(model: str | ModelShape, machine: str | Machine) -> tuple[ModelShape, Machine]:
    """Sizes of a model and of a machine by their names. Raises InvalidConfig for names that are not known."""
    shape = MODELS.get(model) if isinstance(model, str) else model
    board = MACHINES.get(machine) if isinstance(machine, str) else machine
    if shape is None:
        raise InvalidConfig(f"model={model!r} was asked for; there are {', '.join(MODELS)}, or give a ModelShape")
    if board is None:
        raise InvalidConfig(f"gpu={machine!r} was asked for; there are {', '.join(MACHINES)}, or give a Machine")
    return shape, board
