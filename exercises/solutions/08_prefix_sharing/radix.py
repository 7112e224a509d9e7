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
    # BEGIN SOLUTION
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length
    # END SOLUTION


def match(root: Node, tokens: tuple[int, ...]) -> int:
    """How many tokens of the beginning are in the tree. A match may end in the middle of an edge; nothing changes."""
    # BEGIN SOLUTION
    node, matched = root, 0
    while matched < len(tokens) and tokens[matched] in node.children:
        run, child = node.children[tokens[matched]]
        shared = shared_length(run, tokens[matched:])
        matched += shared
        if shared < len(run):
            break
        node = child
    return matched
    # END SOLUTION


def insert(root: Node, tokens: tuple[int, ...]) -> int:
    """Put ``tokens`` into the tree, splitting an edge where it must be. Returns how many tokens were new."""
    # BEGIN SOLUTION
    node, rest = root, tuple(tokens)
    while rest and rest[0] in node.children:
        run, child = node.children[rest[0]]
        shared = shared_length(run, rest)
        if shared < len(run):
            middle = Node({run[shared]: (run[shared:], child)})
            node.children[rest[0]] = (run[:shared], middle)
            child = middle
        node, rest = child, rest[shared:]
    if rest:
        node.children[rest[0]] = (rest, Node())
    return len(rest)
    # END SOLUTION


# Why: SGLang keeps its cache so. A look-up walks the prompt once, hits end at any token and not only at page
# boundaries, and the tree says by itself what may be evicted: its leaves. The price is a tree that splits while
# others read it.
