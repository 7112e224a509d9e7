"""Faults that a learner makes in chapter 08."""

MUTANTS = {
    "08.chained_hash": [
        (
            "not chained",
            "key = digest(key, tokens[start : start + page_size])",
            "key = digest(b'', tokens[start : start + page_size])",
        ),
        (
            "half a page has a key",
            "range(0, len(tokens) - page_size + 1, page_size)",
            "range(0, len(tokens), page_size)",
        ),
        (
            "the last full page is left out",
            "len(tokens) - page_size + 1, page_size)",
            "len(tokens) - page_size, page_size)",
        ),
        ("no salt", "sha256(repr(salt).encode()).digest(), []", "sha256(b'').digest(), []"),
        (
            "all tokens so far",
            "tokens[start : start + page_size])\n        keys",
            "tokens[: start + page_size])\n        keys",
        ),
    ],
    "08.longest_hit": [
        ("everything may be hit", "page_keys(tokens[:-1], page_size, salt)", "page_keys(tokens, page_size, salt)"),
        ("gaps are jumped over", "            break\n", "            continue\n"),
        ("a whole page is left for the last token", "tokens[:-1]", "tokens[:-page_size]"),
        ("no salt", "page_size, salt):\n        if", "page_size):\n        if"),
        ("keys for pages", "pages.append(known[key])", "pages.append(key)"),
    ],
    "08.lru": [
        ("the head first", "for page in reversed(pages):", "for page in pages:"),
        ("the newest goes", "popitem(last=False)", "popitem()"),
        ("who is hit stays in line", "        del self._line[page]\n", "        self._line[page]\n"),
        ("another error", 'raise IndexError("no page is idle")', 'raise KeyError("no page is idle")'),
        ("a hit of nobody goes unnoticed", "del self._line[page]", "self._line.pop(page, None)"),
    ],
    "08.samples": [
        ("the copied page is shared, too", "full = prompt // page_size", "full = -(-prompt // page_size)"),
        ("everybody copies", "return n - 1 if", "return n if"),
        ("a copy without need", "return n - 1 if prompt % page_size else 0", "return n - 1"),
        (
            "rounded down",
            "return n * -(-(prompt + answer) // page_size)",
            "return n * ((prompt + answer) // page_size)",
        ),
        ("the prompt n times", "return full + n *", "return n * full + n *"),
    ],
    "08.radix": [
        (
            "the split loses what hung below",
            "middle = Node({run[shared]: (run[shared:], child)})",
            "middle = Node({run[shared]: (run[shared:], Node())})",
        ),
        ("no split", "if shared < len(run):\n            middle", "if False:\n            middle"),
        (
            "the upper half keeps the whole run",
            "node.children[rest[0]] = (run[:shared], middle)",
            "node.children[rest[0]] = (run, middle)",
        ),
        ("under the wrong first token", "Node({run[shared]: (", "Node({run[0]: ("),
        (
            "whole edges only",
            "        matched += shared\n        if shared < len(run):\n            break\n",
            "        if shared < len(run):\n            break\n        matched += shared\n",
        ),
        ("all tokens are new", "return len(rest)", "return len(tokens)"),
        (
            "an empty edge",
            "    if rest:\n        node.children[rest[0]] = (rest, Node())",
            "    node.children[rest[0] if rest else -1] = (rest, Node())",
        ),
    ],
    "08.leaf_lru": [
        ("inner nodes go too", "if not (child.children or child.users)", "if not child.users"),
        ("who is used goes", "if not (child.children or child.users)", "if not child.children"),
        ("the newest", "min(leaves,", "max(leaves,"),
        ("one too many", "while num_tokens > 0:", "while num_tokens >= 0:"),
        ("nodes are counted", "num_tokens -= leaf.num_tokens", "num_tokens -= 1"),
        (
            "it stays in the tree",
            "        parent.children.remove(leaf)\n        gone",
            "        leaf.users = 1\n        gone",
        ),
    ],
    "08.prefix_cache": [
        ("no chain", "key = digest(cursor, list(tokens))", "key = digest(b'', list(tokens))"),
        ("no limit", "range(min(max_pages, len(tokens) // self.page_size))", "range(len(tokens) // self.page_size)"),
        (
            "the root is handed on",
            "return Match(pages, key)",
            "return Match(pages, sha256(repr(salt).encode()).digest())",
        ),
        ("one page for each content", "self.by_key.setdefault(key, set()).add(page)", "self.by_key[key] = {page}"),
        (
            "all of them are forgotten",
            "        self.by_key[key].remove(page)\n        if not self.by_key[key]:\n            del self.by_key[key]\n        return",
            "        del self.by_key[key]\n        return",
        ),
        (
            "only half is forgotten",
            "key = self.key_of.pop(page)\n        self.by_key[key].remove(page)\n        if",
            "key = self.key_of[page]\n        self.by_key[key].remove(page)\n        if",
        ),
        (
            "gaps are jumped over",
            "                break\n            key = following",
            "                continue\n            key = following",
        ),
        ("tenants share", "sha256(repr(salt).encode()).digest(), []", "sha256(b'').digest(), []"),
    ],
}
