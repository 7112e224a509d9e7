"""The numbers on paper: what the memory of a served model comes to before anything runs.

Pure functions of plain numbers. Lengths are in tokens, sizes in bytes, precisions in bits, times in seconds;
a slot is room for one token's keys and values in all layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pagedlab.errors import InvalidQuantity

KIB, MIB, GIB = 2**10, 2**20, 2**30


def _at_least(minimum: int, **values: float) -> None:
    for name, value in values.items():
        if not value >= minimum:
            raise InvalidQuantity(f"{name} = {value} was asked for; it is at least {minimum}")


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InvalidQuantity(f"{name} = {value} was asked for; it is greater than 0")


# Fragmentation: slots held against slots used


def pages_needed(num_tokens: int, page_size: int) -> int:
    """Pages that hold ``num_tokens`` tokens: the last one may be partly filled."""
    _at_least(0, num_tokens=num_tokens)
    _at_least(1, page_size=page_size)
    return -(-num_tokens // page_size)


def paged_slots(lengths: Iterable[int], page_size: int) -> int:
    """Slots that requests of these lengths hold when each takes whole pages."""
    return sum(pages_needed(length, page_size) for length in lengths) * page_size


def paged_waste(lengths: Sequence[int], page_size: int) -> int:
    """Slots held but not used: the rest of each request's last page."""
    return paged_slots(lengths, page_size) - sum(lengths)


def paged_waste_bound(num_requests: int, page_size: int) -> int:
    """The most slots that paging can waste, whatever the lengths: one short of a page for each request."""
    _at_least(0, num_requests=num_requests)
    _at_least(1, page_size=page_size)
    return num_requests * (page_size - 1)


def contiguous_slots(lengths: Sequence[int], reservation: int) -> int:
    """Slots held when each request reserves ``reservation`` of them in advance."""
    _at_least(0, reservation=reservation, shortest=min(lengths, default=0))
    if (longest := max(lengths, default=0)) > reservation:
        raise InvalidQuantity(f"a request of {longest} tokens does not fit a reservation of {reservation} slots")
    return len(lengths) * reservation


def contiguous_waste(lengths: Sequence[int], reservation: int) -> int:
    """Slots reserved but never used: the tail of each reservation."""
    return contiguous_slots(lengths, reservation) - sum(lengths)


def page_table_bytes(lengths: Iterable[int], page_size: int, entry_bytes: int = 4) -> int:
    """What the page tables themselves take: one entry a page."""
    _at_least(1, entry_bytes=entry_bytes)
    return sum(pages_needed(length, page_size) for length in lengths) * entry_bytes


# The memory bill: weights once, cache once a token


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a Llama-family decoder, under the names its configuration uses.

    Wherever a ModelShape is asked for, a loaded model's config serves as well.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        _at_least(1, **{name: value for name, value in vars(self).items() if name != "tie_word_embeddings"})


#: From each model's published configuration.
MODELS = {
    "SmolLM2-135M": ModelShape(30, 576, 9, 3, 64, 1536, 49152, tie_word_embeddings=True),
    "Qwen2.5-7B": ModelShape(28, 3584, 28, 4, 128, 18944, 152064),
    "Mistral-7B": ModelShape(32, 4096, 32, 8, 128, 14336, 32000),
    "Llama-2-7B": ModelShape(32, 4096, 32, 32, 128, 11008, 32000),
    "Llama-3-8B": ModelShape(32, 4096, 32, 8, 128, 14336, 128256),
    "Llama-3-70B": ModelShape(80, 8192, 64, 8, 128, 28672, 128256),
}


def kv_values_per_token(num_layers: int, num_kv_heads: int, head_dim: int) -> int:
    """Numbers that one token leaves in the cache: a key and a value for each layer and KV head."""
    _at_least(1, num_layers=num_layers, num_kv_heads=num_kv_heads, head_dim=head_dim)
    return num_layers * 2 * num_kv_heads * head_dim


def kv_bytes_per_token(num_layers: int, num_kv_heads: int, head_dim: int, bits: int = 16) -> int:
    """Bytes that one token leaves in the cache; the scales of a quantised store come on top."""
    _at_least(1, bits=bits)
    return -(-kv_values_per_token(num_layers, num_kv_heads, head_dim) * bits // 8)


def kv_bytes(num_requests: int, tokens_each: int, bytes_per_token: int) -> int:
    """Cache of ``num_requests`` live requests: concurrency is a factor, not an addend."""
    _at_least(0, num_requests=num_requests, tokens_each=tokens_each, bytes_per_token=bytes_per_token)
    return num_requests * tokens_each * bytes_per_token


def num_parameters(model: ModelShape) -> int:
    """Weights of the model: embedding, layers, norms and, where it is untied, the head."""
    embeddings = (1 if model.tie_word_embeddings else 2) * model.vocab_size * model.hidden_size
    norms = (2 * model.num_layers + 1) * model.hidden_size
    return embeddings + model.num_layers * _linear_parameters(model) + norms


def weight_bytes(parameters: int, bits: int = 16) -> int:
    """Bytes of the weights at ``bits`` each; the scales of a quantised format come on top."""
    _at_least(0, parameters=parameters)
    _at_least(1, bits=bits)
    return -(-parameters * bits // 8)


# Concurrency: how many requests a memory holds


def pool_pages(memory_bytes: int, taken_bytes: int, page_size: int, bytes_per_token: int) -> int:
    """Whole pages that fit into ``memory_bytes``, of which weights and activations have taken ``taken_bytes``."""
    _at_least(0, taken_bytes=taken_bytes)
    _at_least(1, memory_bytes=memory_bytes, page_size=page_size, bytes_per_token=bytes_per_token)
    if taken_bytes > memory_bytes:
        raise InvalidQuantity(f"{taken_bytes} bytes are taken of a memory of {memory_bytes}: nothing is left for pages")
    return (memory_bytes - taken_bytes) // (page_size * bytes_per_token)


def paged_concurrency(num_pages: int, page_size: int, tokens_each: int) -> int:
    """Requests of ``tokens_each`` tokens that a pool holds at once."""
    _at_least(0, num_pages=num_pages)
    _at_least(1, tokens_each=tokens_each)
    return num_pages // pages_needed(tokens_each, page_size)


def contiguous_concurrency(num_slots: int, reservation: int) -> int:
    """Requests that the same slots hold when each reserves ``reservation`` of them."""
    _at_least(0, num_slots=num_slots)
    _at_least(1, reservation=reservation)
    return num_slots // reservation


# The roofline: what bounds a step (Williams, Waterman, Patterson: "Roofline", CACM 2009)


class Machine(NamedTuple):
    """What an accelerator can do at best: FLOP/s, bytes/s from its memory, bytes of memory."""

    peak_flops: float
    bandwidth: float
    memory_bytes: int


#: Dense bf16 peaks, memory bandwidth and memory from the vendor's data sheets (SXM and OAM boards; L4 is a card).
MACHINES = {
    "L4": Machine(121e12, 0.3e12, 24 * 10**9),
    "A100": Machine(312e12, 2.039e12, 80 * 10**9),
    "H100": Machine(989e12, 3.35e12, 80 * 10**9),
    "H200": Machine(989e12, 4.8e12, 141 * 10**9),
    "B200": Machine(2250e12, 8e12, 180 * 10**9),
    "MI300X": Machine(1307e12, 5.3e12, 192 * 10**9),
}


class Chunk(NamedTuple):
    """Tokens of one sequence computed in one step: ``num_tokens`` of them, after ``start`` that are cached."""

    start: int
    num_tokens: int


class StepCost(NamedTuple):
    flops: int
    traffic: int  #: bytes moved between memory and processor

    @property
    def intensity(self) -> float:
        """FLOPs done for each byte moved."""
        return self.flops / self.traffic


def step_cost(model: ModelShape, chunks: Sequence[Chunk], weight_bits: int = 16, kv_bits: int = 16) -> StepCost:
    """Work and traffic of one pass of ``model`` over ``chunks``, one row of logits each.

    A multiply and an add are two FLOPs. Traffic is the least possible: every weight is read once, each
    sequence's keys and values are read once and the new ones written; activations stay on chip.
    """
    if not chunks:
        raise InvalidQuantity("a step without chunks costs nothing and has no intensity: give it at least one")
    for start, count in chunks:
        _at_least(0, start=start)
        _at_least(1, num_tokens=count)
    tokens = sum(count for _, count in chunks)
    # Token i of a sequence attends to itself and the i before it.
    pairs = sum(count * start + count * (count + 1) // 2 for start, count in chunks)
    linear, head = model.num_layers * _linear_parameters(model), model.hidden_size * model.vocab_size
    attention_flops = 4 * model.num_layers * model.num_heads * model.head_dim * pairs
    flops = 2 * linear * tokens + 2 * head * len(chunks) + attention_flops

    per_token = kv_bytes_per_token(model.num_layers, model.num_kv_heads, model.head_dim, kv_bits)
    cache_bytes = sum(start + 2 * count for start, count in chunks) * per_token
    return StepCost(flops, weight_bytes(linear + head, weight_bits) + cache_bytes)


def prefill_cost(model: ModelShape, num_tokens: int, weight_bits: int = 16, kv_bits: int = 16) -> StepCost:
    """One prompt of ``num_tokens`` tokens in one pass."""
    return step_cost(model, [Chunk(0, num_tokens)], weight_bits, kv_bits)


def decode_cost(model: ModelShape, contexts: Sequence[int], weight_bits: int = 16, kv_bits: int = 16) -> StepCost:
    """One new token for each sequence; ``contexts`` are the tokens each already has in the cache."""
    return step_cost(model, [Chunk(context, 1) for context in contexts], weight_bits, kv_bits)


def ridge_point(machine: Machine) -> float:
    """FLOPs per byte above which ``machine`` is bound by arithmetic, below which by memory."""
    _positive(peak_flops=machine.peak_flops, bandwidth=machine.bandwidth)
    return machine.peak_flops / machine.bandwidth


def attainable_flops(intensity: float, machine: Machine) -> float:
    """The roofline: FLOP/s that work of this intensity (FLOPs per byte) can reach at best."""
    _positive(intensity=intensity, peak_flops=machine.peak_flops, bandwidth=machine.bandwidth)
    return min(machine.peak_flops, intensity * machine.bandwidth)


def seconds(cost: StepCost, machine: Machine) -> float:
    """The least time ``cost`` can take: arithmetic and traffic overlap, the slower of the two is what is seen."""
    return cost.flops / attainable_flops(cost.intensity, machine)


def _linear_parameters(model: ModelShape) -> int:
    """Weights of one layer's matrices: q and o, k and v, and the three of the feed-forward."""
    q_and_o = 2 * model.hidden_size * model.num_heads * model.head_dim
    k_and_v = 2 * model.hidden_size * model.num_kv_heads * model.head_dim
    return q_and_o + k_and_v + 3 * model.hidden_size * model.intermediate_size
