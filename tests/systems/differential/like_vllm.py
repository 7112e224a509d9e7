"""A decision in which pagedlab is not vLLM, taken vLLM's way, so that all the rest can be compared to the page."""

from __future__ import annotations

from collections.abc import Sequence

from pagedlab.memory.prefix_hash import HashPrefixCache, _Content


class FirstPublished(HashPrefixCache):
    """Of pages that hold the same vLLM hits the one that was published first; ours, the one with the lowest number."""

    def publish(self, cursor: _Content, tokens: Sequence[int], page: int) -> _Content | None:
        known = self.holds(page)
        content = super().publish(cursor, tokens, page)
        if content is not None and not known:
            content.pages.remove(page)
            content.pages.append(page)
        return content
