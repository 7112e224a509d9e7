"""ContiguousAllocator: one unbroken run of slots for each sequence, reserved in advance.

Serving began here, and pages were invented to get away from it. A run must be as long as its sequence may ever
grow, because nothing can be moved once attention reads it. Two kinds of waste follow: the tail of a reservation
that is never used (internal), and free runs too short for the next reservation (external fragmentation).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from pagedlab.errors import InvalidQuantity, InvariantViolation, OutOfSlots


@dataclass(order=True)
class Reservation:
    """Slots ``start`` to ``stop - 1``; the first ``used`` of them hold tokens."""

    start: int
    num_slots: int = field(compare=False)
    sequence: int = field(compare=False)
    used: int = field(compare=False, default=0)

    @property
    def stop(self) -> int:
        return self.start + self.num_slots


class ContiguousAllocator:
    """``num_slots`` slots in one line. A reservation takes the first free run that is long enough."""

    def __init__(self, num_slots: int) -> None:
        if num_slots < 1:
            raise InvalidQuantity(f"{num_slots} slots were asked for; an allocator has at least one")
        self.num_slots = num_slots
        self._line: list[Reservation] = []  #: in the order of their slots

    @property
    def reservations(self) -> list[Reservation]:
        return list(self._line)

    @property
    def num_reserved(self) -> int:
        return sum(reservation.num_slots for reservation in self._line)

    @property
    def num_used(self) -> int:
        return sum(reservation.used for reservation in self._line)

    @property
    def num_free(self) -> int:
        return self.num_slots - self.num_reserved

    @property
    def internal_waste(self) -> int:
        """Slots reserved but not used."""
        return self.num_reserved - self.num_used

    @property
    def external_fragmentation(self) -> float:
        """The share of the free slots that lies outside the largest free run: 0.0 when all are in one run."""
        return 1 - self.largest_free_run / self.num_free if self.num_free else 0.0

    @property
    def largest_free_run(self) -> int:
        return max(map(len, self.free_runs()), default=0)

    def free_runs(self) -> list[range]:
        """The gaps between reservations, first slot first."""
        starts = [0, *(reservation.stop for reservation in self._line)]
        stops = [*(reservation.start for reservation in self._line), self.num_slots]
        return [range(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]

    def reserve(self, sequence: int, num_slots: int, *, best_fit: bool = False) -> Reservation:
        """A run of ``num_slots`` slots: the first one long enough, or with ``best_fit`` the shortest such.

        Raises OutOfSlots, with nothing changed, when no run is long enough, even if the free slots together would do.
        """
        if num_slots < 1:
            raise InvalidQuantity(f"a reservation of {num_slots} slots was asked for; it has at least one")
        if any(reservation.sequence == sequence for reservation in self._line):
            raise ValueError(f"sequence {sequence} has a reservation already; release it first")
        runs = [run for run in self.free_runs() if len(run) >= num_slots]
        if not runs:
            raise OutOfSlots(num_slots, self.largest_free_run, self.num_free)
        run = min(runs, key=len) if best_fit else runs[0]
        reservation = Reservation(run.start, num_slots, sequence)
        insort(self._line, reservation)
        return reservation

    def extend(self, sequence: int, num_tokens: int) -> None:
        """The sequence now holds ``num_tokens`` tokens in all, within its reservation."""
        reservation = self._find(sequence)
        if not reservation.used <= num_tokens <= reservation.num_slots:
            raise InvalidQuantity(
                f"sequence {sequence} holds {reservation.used} tokens of {reservation.num_slots} reserved; "
                f"it cannot hold {num_tokens}. Reserve for the longest it may become."
            )
        reservation.used = num_tokens

    def release(self, sequence: int) -> None:
        """Give the whole run back. Neighbouring gaps become one."""
        self._line.remove(self._find(sequence))

    def check(self) -> None:
        """Reservations lie inside the line, do not overlap and hold no more than they reserved."""
        end = 0
        for reservation in self._line:
            if reservation.start < end or reservation.stop > self.num_slots:
                raise InvariantViolation(f"{reservation} overlaps another or leaves the {self.num_slots} slots")
            if not 0 <= reservation.used <= reservation.num_slots:
                raise InvariantViolation(f"{reservation} uses slots that it did not reserve")
            end = reservation.stop
        if sum(map(len, self.free_runs())) != self.num_free:
            raise InvariantViolation(f"free runs {self.free_runs()} do not add up to {self.num_free} slots")

    def _find(self, sequence: int) -> Reservation:
        for reservation in self._line:
            if reservation.sequence == sequence:
                return reservation
        raise KeyError(f"sequence {sequence} has no reservation")
