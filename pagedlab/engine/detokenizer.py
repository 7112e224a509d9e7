"""OutputText: the text of one sequence as its tokens arrive, and the stop strings in it."""

from __future__ import annotations

from collections.abc import Sequence

from pagedlab.models.tokenizer import Tokenizer


class OutputText:
    """``text`` never shows half a character, nor what may turn out to be the beginning of a stop string."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._stream = tokenizer.stream()
        self._all = ""
        self._held = max((len(stop) - 1 for stop in self._stop), default=0)
        self._final: str | None = None

    @property
    def text(self) -> str:
        if self._final is not None:
            return self._final
        return self._all[: max(0, len(self._all) - self._held)]

    def push(self, token: int, *, may_stop: bool = True) -> str | None:
        """Take one more token. Returns the stop string that is now complete, if any; the text ends before it."""
        new = self._stream.push(token)
        before = len(self._all)
        self._all += new
        if not (new and may_stop):
            return None
        # Each must end in what is new: one that ended before, when it might not stop yet, is part of the text.
        firsts = ((stop, max(0, before + 1 - len(stop))) for stop in self._stop)
        found = [(at, stop) for stop, first in firsts if (at := self._all.find(stop, first)) >= 0]
        if not found:
            return None
        at, stop = min(found)
        self._final = self._all[:at]
        return stop

    def finish(self) -> None:
        """No token follows: whatever was held back is shown. A text that a stop string ended stays as it is."""
        if self._final is None:
            self._final = self._all + self._stream.flush()
