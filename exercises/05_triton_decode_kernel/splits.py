"""How many splits?

A GPU has many processors (an H100: 132), and decode without splits has one program for each sequence and KV head: one
long request on 8 KV heads keeps 8 of them busy. So its pages are shared out among splits. Rules of thumb:

- no more splits than give every processor ``waves`` programs (2, say: while one waits for memory, the other computes);
- no split of fewer than ``least`` pages, or merging costs more than it saves; but at least one split;
- where there are programs enough already, one.

1 sequence, 8 KV heads, 132 processors, 2 waves: 264 / 8 = 33 splits, if the context has at least 33 · least pages.
"""


def number_of_splits(
    sequences: int, kv_heads: int, pages: int, processors: int, *, waves: int = 2, least: int = 4
) -> int:
    """How many splits for contexts of ``pages`` pages. All divisions round down."""
    raise NotImplementedError("05.splits: number_of_splits is yours to write")


def pages_of_split(pages: int, splits: int, split: int) -> range:
    """The logical pages of split number ``split``: in order, all of them once, no two splits' shares differing by more
    than one page. The first splits have the larger shares."""
    raise NotImplementedError("05.splits: pages_of_split is yours to write")
