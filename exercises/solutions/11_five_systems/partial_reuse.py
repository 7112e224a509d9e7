"""TensorRT-LLM's partial reuse.

Full pages are found as ever: page by page, while their tokens are those of the prompt. Then comes the page on which the
two part. Other systems compute all of it; here the known page that *begins* most like what follows is copied, and used
as far as it agrees. It must be a copy, for the original goes on differently.

Pages of 4. Known: page 7 holds "once", page 3 after it " upo", page 5 after page 7 " a t":

    prompt "once a cat"    page 7 as it is; then " a c" against " upo" (1 token alike) and " a t" (3)
                           -> pages [7], copy page 5, 3 tokens of it

At least one token of the prompt has to be computed, whatever is known: the last one, which brings the first new token.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Reuse(NamedTuple):
    pages: list[int]  #: full pages that are shared as they are
    copied: int | None = None  #: the page to copy; None: none
    num_tokens: int = 0  #: that the copy is good for


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens the two have in common."""
    # BEGIN SOLUTION
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
    # END SOLUTION


def reuse(prompt: Sequence[int], page_size: int, known: Mapping[tuple[int, ...], int]) -> Reuse:
    """What of ``prompt`` need not be computed.

    ``known``: the tokens from the beginning of a sequence to the end of a page -> that page. What a page continues is
    the key without its last ``page_size`` tokens. Of pages that agree equally far, the one with the smaller number.
    """
    # BEGIN SOLUTION
    most = len(prompt) - 1
    pages: list[int] = []
    done = 0
    while done + page_size <= most and tuple(prompt[: done + page_size]) in known:
        done += page_size
        pages.append(known[tuple(prompt[:done])])
    before, following = tuple(prompt[:done]), prompt[done:most]
    best = Reuse(pages)
    for tokens, page in sorted(known.items(), key=lambda item: item[1]):
        if len(tokens) == done + page_size and tokens[:done] == before:
            count = alike(tokens[done:], following)
            if count > best.num_tokens:
                best = Reuse(pages, page, count)
    return best
    # END SOLUTION


# Why: large pages make short tables and wide loads, and would lose up to page_size - 1 tokens of every hit. A copy of
# a page costs microseconds; computing its tokens costs a part of a step. A radix tree with pages of one token gets the
# same by splitting edges.
