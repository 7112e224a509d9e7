"""Evict from a tree of prompts: leaves only, the least recently used first.

Each node is a run of cached tokens that continues its parent's. An inner node is the beginning of others: evict it,
and what hangs below it can never be hit again. So only leaves go; and when the last child of a node has gone, that
node is a leaf itself. A node that somebody uses (``users`` above 0) stays, whatever its age.

    root ── a (4 tokens, used at 9) ── b (2, at 5)          evict(root, 3): c first (2 tokens, at 3),
         └─ c (2, at 3)              └─ d (6, at 7)         then b (2, at 5). 4 tokens: enough.
"""

from dataclasses import dataclass, field


@dataclass
class Node:
    """Written already. The root has no tokens, and is never evicted."""

    name: str
    num_tokens: int = 0
    last_used: int = 0  #: no two nodes have the same
    users: int = 0
    children: list["Node"] = field(default_factory=list)


def evict(root: Node, num_tokens: int) -> list[str]:
    """Evict leaves until at least ``num_tokens`` tokens are gone; names in the order in which they went.

    Where there are not enough that may go, all that may go do.
    """
    raise NotImplementedError("08.leaf_lru: evict is yours to write")
