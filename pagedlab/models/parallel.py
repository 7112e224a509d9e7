"""Tensor parallelism: each rank computes some heads and some columns of the feed-forward, and keeps their pages only.

Queries, keys, values, gate and up are cut by rows: each rank computes outputs of its own from the whole input. The
matrices that follow them, o and down, are cut by columns: each rank's product is a part of a sum, which an all-reduce
makes whole. So a layer takes two all-reduces, and everything else (norms, embeddings, the head) is on every rank.
Source: Megatron-LM (arXiv:1909.08053).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from pagedlab.errors import InvalidConfig
from pagedlab.models.config import ModelConfig
from pagedlab.models.linear import Linear
from pagedlab.models.llama import LlamaModel

if TYPE_CHECKING:
    from pagedlab.models.lora import LoraBatch

#: Which dimension of a weight ``[out, in]`` is cut, by the last part of its module's name.
_CUT = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "gate_proj": 0, "up_proj": 0, "o_proj": 1, "down_proj": 1}

#: ``reduce(x)`` -> the sum of every rank's ``x``.
Reduce = Callable[[Tensor], Tensor]
Answer = TypeVar("Answer")


class SummedLinear(Linear):
    """A linear map cut by columns: what the ranks compute is added up. It has no bias."""

    reduce: Reduce

    def pack(self) -> None:
        """It stays as it is: packed, the whole step might be one native call, and nobody would add."""

    def forward(self, x: Tensor, lora: LoraBatch | None = None) -> Tensor:
        return self.reduce(super().forward(x, lora))


def config_of_rank(config: ModelConfig, ranks: int) -> ModelConfig:
    """The decoder that one of ``ranks`` computes. Raises InvalidConfig where it cannot be cut evenly.

    Every rank has key-value heads of its own: there are no copies here.
    """
    for name in ("num_heads", "num_kv_heads", "intermediate_size"):
        if ranks < 1 or getattr(config, name) % ranks:
            raise InvalidConfig(f"ranks={ranks} was asked for; {name} is {getattr(config, name)}, not a multiple")
    if config.num_experts or config.output_bias or config.mlp_bias or config.qkv_bias:
        raise InvalidConfig("only decoders without experts and without biases can be cut here")
    return replace(
        config,
        num_heads=config.num_heads // ranks,
        num_kv_heads=config.num_kv_heads // ranks,
        intermediate_size=config.intermediate_size // ranks,
    )


def shard(model: LlamaModel, rank: int, ranks: int, reduce: Reduce) -> LlamaModel:
    """The part of ``model`` that ``rank`` serves. ``model`` must not have been prepared yet."""
    config = config_of_rank(model.config, ranks)
    with torch.device("meta"):
        part = LlamaModel(config)
        for layer in part.layers:
            for parent, name in ((layer.self_attn, "o_proj"), (layer.mlp, "down_proj")):
                whole = getattr(parent, name)
                summed = SummedLinear(whole.weight.shape[1], whole.out_features)
                summed.reduce, summed.name = reduce, whole.name
                setattr(parent, name, summed)
    weights = {}
    for key, weight in model.state_dict().items():
        cut = _CUT.get(key.split(".")[-2])
        weights[key] = weight if cut is None else weight.chunk(ranks, cut)[rank].contiguous()
    part.load_state_dict(weights, assign=True)
    return part


def run_ranks(work: Callable[[int, int, Reduce], Answer], ranks: int) -> list[Answer]:
    """What ``work(rank, ranks, reduce)`` returns in each of ``ranks`` processes that are joined by gloo, in their
    order. ``work`` must be a function of a module, for the processes import it.
    """
    from torch.multiprocessing import get_context

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = get_context("spawn")
    answers = context.SimpleQueue()
    processes = [context.Process(target=_rank, args=(work, rank, ranks, port, answers)) for rank in range(ranks)]
    for process in processes:
        process.start()
    found: dict[int, Answer] = {}
    while len(found) < ranks and (any(process.is_alive() for process in processes) or not answers.empty()):
        if answers.empty():
            time.sleep(0.01)
        else:
            found.update([answers.get()])
    for process in processes:  # not before: one with a large answer waits until it is read
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"ranks ended with {[process.exitcode for process in processes]}")
    return [found[rank] for rank in range(ranks)]


def _rank(work: Callable[[int, int, Reduce], object], rank: int, ranks: int, port: int, answers: object) -> None:
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)

    def reduce(x: Tensor) -> Tensor:
        summed = x.contiguous().clone()
        distributed.all_reduce(summed)
        return summed

    try:
        answers.put((rank, work(rank, ranks, reduce)))  # type: ignore[attr-defined]
    finally:
        distributed.destroy_process_group()
