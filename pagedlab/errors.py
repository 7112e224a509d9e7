"""Typed errors. Each says what was asked, what there is, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class PagedLabError(Exception):
    """Base of every error that pagedlab raises on purpose."""


class OutOfPages(PagedLabError):
    """An allocation asked for more pages than are free or evictable; nothing was changed."""

    def __init__(self, asked: int, free: int, cached: int) -> None:
        self.asked, self.free, self.cached = asked, free, cached
        super().__init__(
            f"{asked} pages asked for, {free} free and {cached} cached pages can be had. "
            "Release a sequence, preempt one, or give the pool more pages (num_pages)."
        )


class OutOfSlots(PagedLabError):
    """No free run is long enough for a contiguous reservation; nothing was changed."""

    def __init__(self, asked: int, largest_run: int, free: int) -> None:
        self.asked, self.largest_run, self.free = asked, largest_run, free
        super().__init__(
            f"a run of {asked} slots was asked for; the largest free run has {largest_run}, all free slots together "
            f"are {free}. "
            + ("They would do, but they lie apart: use pages." if free >= asked else "Release a sequence first.")
        )


class InvalidQuantity(PagedLabError, ValueError):
    """A number that cannot be: a page without slots, a negative length, more tokens than were reserved."""


class PagesInUse(PagedLabError):
    """The prefix cache cannot be reset while sequences hold pages."""

    def __init__(self, used: int) -> None:
        self.used = used
        super().__init__(
            f"the prefix cache cannot be reset: {used} pages are in use. "
            "Wait for the running requests to finish, or abort them first."
        )


class InvariantViolation(PagedLabError):
    """The books do not balance: a bug in the memory code, found by ``check()``."""


class InvalidRequest(PagedLabError, ValueError):
    """A request that can never be served, refused on arrival."""


class RequestAborted(PagedLabError):
    """A request was withdrawn by somebody else while its caller waited for its output."""


class ModelError(PagedLabError):
    """A model cannot be loaded: unknown, corrupt, incomplete or of another architecture."""


class CorruptFile(ModelError):
    """A weights file is truncated, inconsistent or claims sizes it cannot have."""


class UnsupportedModel(ModelError):
    """The file is sound, but its architecture or format is not one that pagedlab runs."""


class DownloadFailed(ModelError):
    """A model is not on this machine and could not be fetched, or not be kept."""


class KernelUnavailable(PagedLabError):
    """The attention path asked for cannot run on this machine."""


class InvalidTrace(PagedLabError, ValueError):
    """A recorded trace is not in its format. ``line`` counts from 1; it is 0, and ``column`` empty, for none."""

    def __init__(self, path: Path, line: int, column: str, problem: str) -> None:
        self.path, self.line, self.column = path, line, column
        where = [str(path), f"line {line}" if line else "", column]
        super().__init__(f"{', '.join(filter(None, where))}: {problem}")


class InvalidConfig(PagedLabError, ValueError):
    """An engine cannot be built from these settings."""


class SamplingFailed(PagedLabError):
    """No next token can be chosen for one sequence: its logits or its constraint allow none."""


class EngineBusy(PagedLabError):
    """As many requests wait as may, and the caller did not want to wait for its turn."""


class EngineClosed(PagedLabError):
    """The engine was shut down, or its loop has died: it takes no more requests, and ends those it had."""


class RequestFailed(PagedLabError):
    """Something went wrong with one request on its way, and it ended so; what it had said by then was delivered."""


class StepFailed(PagedLabError):
    """A step raised: the requests in it ended with finish_reason "error", all others run on.

    ``outputs`` holds what the requests in that step had so far.
    """

    def __init__(self, message: str, outputs: list[Any]) -> None:
        self.outputs = outputs
        super().__init__(message)
