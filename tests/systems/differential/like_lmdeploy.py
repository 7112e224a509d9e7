"""LMDeploy's ways of a sequence with its pages, where ours are others, on top of our cache manager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import Salt
from pagedlab.memory.table import PageTable


class OneBlockAContent(CacheManager):
    """A full page that is computed a second time is given back at once, and the table names the one that is known.

    Decoded pages are published when the next page is taken; ours are in the step that fills them.
    """

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self._salts: dict[int, Salt] = {}
        self._seen: dict[int, int] = {}  #: pages that a sequence had when it last published

    def admit(
        self, sequence: int, tokens: Sequence[int], budget: int | None = None, salt: Salt = None, **wishes: Any
    ) -> Any:
        admitted = super().admit(sequence, tokens, budget, salt, **wishes)
        self._salts[sequence], self._seen[sequence] = salt, 0
        return admitted

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        table = self.table(sequence)
        if len(table) == self._seen[sequence]:
            return
        self._seen[sequence] = len(table)
        super().publish(sequence, tokens, num_tokens)
        full = num_tokens // self.page_size
        for logical, known in enumerate(self.prefix_cache.match(tokens, full, self._salts[sequence]).pages):
            if table.pages[logical] != known:
                self._give_back(sequence, table, logical, known)

    def _give_back(self, sequence: int, table: PageTable, logical: int, known: int) -> None:
        own = table.pages[logical]
        self.store.claim(known)
        table.replace(logical, known)
        self.store.drop(own, sequence, logical)
