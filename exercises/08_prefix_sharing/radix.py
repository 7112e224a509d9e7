"""A radix tree: all known prompts at once, each beginning stored once.

An edge carries a run of tokens. Two prompts that part ways in the middle of an edge split it: what they share becomes
an edge of its own, and the two rests hang below it. Inserting "cart", then "cash", then "ca":

    "cart"            "ca"              "ca"
                      ├── "rt"          ├── "rt"
                      └── "sh"          └── "sh"        nothing is new: "ca" is there

A node has ``children``: first token of the edge -> (run, node). No two edges of a node begin with the same token, and
no edge is empty.
"""

from dataclasses import dataclass, field


@dataclass
class Node:
    """Written already."""

    children: dict[int, tuple[tuple[int, ...], "Node"]] = field(default_factory=dict)


def shared_length(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many tokens two runs have in common at their beginning."""
    raise NotImplementedError("08.radix: shared_length is yours to write")


def match(root: Node, tokens: tuple[int, ...]) -> int:
    """How many tokens of the beginning are in the tree. A match may end in the middle of an edge; nothing changes."""
    raise NotImplementedError("08.radix: match is yours to write")


def insert(root: Node, tokens: tuple[int, ...]) -> int:
    """Put ``tokens`` into the tree, splitting an edge where it must be. Returns how many tokens were new."""
    raise NotImplementedError("08.radix: insert is yours to write")
