"""LMDeploy's own paging, without a model: block manager, block trie and scheduler. Runs where LMDeploy is installed.

Everything that decides is LMDeploy's (see driver.py for how it is asked). A stand-in is the clock by which the trie
evicts: block_manager keeps whole seconds, in which a test passes, so here every look at it is a second later.
"""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

from driver import content, serve


def load() -> tuple[str, object]:
    import lmdeploy
    import lmdeploy.pytorch.paging.scheduler
    import lmdeploy.pytorch.strategies.ar.sequence
    from lmdeploy.pytorch.paging.block_manager import base_block_manager

    seconds = count()
    base_block_manager.time = SimpleNamespace(perf_counter=lambda: next(seconds))
    return lmdeploy.__version__, Paging()


class Paging:
    def __init__(self) -> None:
        """Tell what enters the trie and what leaves it, for whichever trie that is."""
        from lmdeploy.pytorch.paging.block_trie.node import Node

        self.events: list[list[str]] = []
        attach, detach = Node.attach_to, Node.detach_leaf

        def attach_to(node: Any, parent: Any) -> None:
            attach(node, parent)
            self.events.append(["publish", held(node)])

        def detach_leaf(node: Any) -> bool:
            self.events.append(["evict", held(node)])
            return bool(detach(node))

        Node.attach_to, Node.detach_leaf = attach_to, detach_leaf

    def start(self, page_size: int, num_pages: int) -> None:
        from lmdeploy.pytorch.config import CacheConfig, SchedulerConfig
        from lmdeploy.pytorch.messages import SequenceMeta
        from lmdeploy.pytorch.paging.scheduler import Scheduler
        from lmdeploy.pytorch.strategies.ar.sequence import ARSequenceStrategy

        cache = CacheConfig(
            max_batches=64,
            block_size=page_size,
            num_cpu_blocks=0,
            num_gpu_blocks=num_pages,
            max_prefill_token_num=2**20,
            enable_prefix_caching=True,
            device_type="cpu",
        )
        meta = SequenceMeta(page_size, strategy=ARSequenceStrategy())
        self.scheduler = Scheduler(SchedulerConfig(max_batches=64, max_session_len=2**20), cache, seq_meta=meta)
        self.sequences: dict[str, Any] = {}
        self.events.clear()

    def admit(self, name: str, tokens: list[int], budget: int, salt: str | None) -> dict[str, Any]:
        """One waiting sequence, and one turn of prefill. (No chunks: ``budget`` is more than the tokens.)"""
        session = self.scheduler.add_session(len(self.sequences))
        sequence = self.sequences[name] = session.add_sequence(tokens, adapter_name=salt)
        admitted = self.scheduler.schedule(is_prefill=True).running
        if not admitted:
            self.scheduler.end_session(session.session_id)
            return {"hit": None, "memory": self._memory()}
        self.scheduler.activate_seqs(admitted)
        return {"hit": int(sequence.cached_tokens), "memory": self._memory()}

    def extend(self, name: str, tokens: list[int], budget: int) -> dict[str, Any]:
        """Decode steps for ``tokens``, and pages for them in one go."""
        from lmdeploy.pytorch.messages import UpdateTokenMode

        sequence = self.sequences[name]
        sequence.update_token_ids(tokens, mode=UpdateTokenMode.DECODE)
        [done] = self.scheduler.schedule_running([sequence], num_required_tokens=0, prealloc_size=0)
        return {"done": done, "memory": self._memory()}

    def release(self, name: str) -> dict[str, Any]:
        self.scheduler.end_session(self.sequences[name].session_id)
        return {"memory": self._memory()}

    def _memory(self) -> dict[str, Any]:
        events, self.events[:] = list(self.events), []
        allocator = self.scheduler.block_manager.allocator
        parked = [
            [int(node.block_id), held(node)]
            for root in self.scheduler.block_trie._roots.values()
            for node in below(root)
            if allocator.get_ref_count(node.block_id) == 1  # the trie's own
        ]
        blank = [[page, None] for page in range(allocator.get_num_free_blocks())]  # which ones does not matter
        tables = {
            name: [int(page) for page in sequence.logical_blocks.get_real_blocks()]
            for name, sequence in self.sequences.items()
            if sequence.num_blocks
        }
        return {"events": events, "tables": tables, "queue": blank + parked}


def held(node: Any) -> str:
    path = node.path_from_root()
    return content([int(token) for one in path for token in one.token_ids], node.adapter_name)


def below(node: Any) -> list[Any]:
    return [found for child in node.children.values() for found in (child, *below(child))]


if __name__ == "__main__":
    serve(load)
