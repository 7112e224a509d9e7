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
    # BEGIN SOLUTION
    gone: list[str] = []
    while num_tokens > 0:
        leaves = [
            (child.last_used, parent, child) for parent, child in _edges(root) if not (child.children or child.users)
        ]
        if not leaves:
            break
        _, parent, leaf = min(leaves, key=lambda leaf: leaf[0])
        parent.children.remove(leaf)
        gone.append(leaf.name)
        num_tokens -= leaf.num_tokens
    return gone
    # END SOLUTION


# BEGIN SOLUTION
def _edges(node: Node) -> list[tuple[Node, Node]]:
    """Every (parent, child) below ``node``."""
    return [pair for child in node.children for pair in [(node, child), *_edges(child)]]


# END SOLUTION


# Why: a node is at least as recently used as all that hangs below it (a hit touches the whole way down), so leaves are
# also the oldest. An engine keeps them in a heap and pushes a parent when its last child goes; this walks, for clarity.
