"""A name for the content of a page, and for all that comes before it.

Two prompts that begin alike should find each other's pages. So each *full* page gets a key. The keys and values in a
page depend on its own tokens and on every token before them; so must the key:

    key of page 0     = hash of (root, tokens of page 0)        root: hash of the salt
    key of page i     = hash of (key of page i - 1, tokens of page i)

Equal tokens after different beginnings get different keys. A prompt and its continuation share the keys of all pages
they have in common, and one look at the last of these keys vouches for all before it. The *salt* keeps tenants apart:
with another salt, every key is another one.

A page that is not full has no key: it would change with the next token.
"""

from collections.abc import Hashable
from hashlib import sha256


def digest(parent: bytes, tokens: list[int]) -> bytes:
    """Written already: 32 bytes that nobody finds by accident, from a key and the tokens of one page."""
    return sha256(parent + repr(list(tokens)).encode()).digest()


def page_keys(tokens: list[int], page_size: int, salt: Hashable = None) -> list[bytes]:
    """The keys of all full pages of ``tokens``, in order. The root is ``sha256(repr(salt).encode()).digest()``."""
    # BEGIN SOLUTION
    key, keys = sha256(repr(salt).encode()).digest(), []
    for start in range(0, len(tokens) - page_size + 1, page_size):
        key = digest(key, tokens[start : start + page_size])
        keys.append(key)
    return keys
    # END SOLUTION


# Why: a chain makes one comparison of 32 bytes stand for a comparison of the whole beginning. vLLM's prefix cache is
# made so. A hash that is not cryptographic would let a tenant craft a prompt that hits somebody else's pages.
