"""The reservation the course starts from: correct, and wasteful in the two ways that pages cure."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pagedlab.errors import InvalidQuantity, InvariantViolation, OutOfSlots
from pagedlab.memory.contiguous import ContiguousAllocator


def test_three_reservations_waste_5288_of_12288_slots() -> None:
    allocator = ContiguousAllocator(3 * 4096)
    for sequence, length in enumerate([800, 2300, 3900]):
        allocator.reserve(sequence, 4096)
        allocator.extend(sequence, length)
    assert (allocator.num_reserved, allocator.num_used, allocator.internal_waste) == (12288, 7000, 5288)


def test_free_slots_that_lie_apart_cannot_serve_a_long_run() -> None:
    allocator = ContiguousAllocator(12)
    for sequence in range(4):
        allocator.reserve(sequence, 3)
    allocator.release(0)
    allocator.release(2)
    assert (allocator.num_free, allocator.largest_free_run, allocator.external_fragmentation) == (6, 3, 0.5)
    with pytest.raises(OutOfSlots, match="they lie apart") as caught:
        allocator.reserve(4, 4)
    assert (caught.value.asked, caught.value.largest_run, caught.value.free) == (4, 3, 6)
    assert allocator.free_runs() == [range(3), range(6, 9)]


def test_too_few_free_slots_is_said_to_be_just_that() -> None:
    allocator = ContiguousAllocator(4)
    with pytest.raises(OutOfSlots, match="Release a sequence"):
        allocator.reserve(0, 5)


def test_first_fit_takes_the_first_gap_and_best_fit_the_tightest() -> None:
    def with_gaps_of_four_and_two() -> ContiguousAllocator:
        allocator = ContiguousAllocator(8)
        for sequence, size in enumerate([4, 1, 2, 1]):
            allocator.reserve(sequence, size)
        allocator.release(0)
        allocator.release(2)
        return allocator

    assert with_gaps_of_four_and_two().reserve(9, 2).start == 0
    assert with_gaps_of_four_and_two().reserve(9, 2, best_fit=True).start == 5


def test_neighbouring_gaps_become_one_run() -> None:
    allocator = ContiguousAllocator(6)
    for sequence in range(3):
        allocator.reserve(sequence, 2)
    allocator.release(0)
    allocator.release(1)
    assert allocator.reserve(3, 4).start == 0


def test_a_full_line_is_not_fragmented() -> None:
    allocator = ContiguousAllocator(2)
    allocator.reserve(0, 2)
    assert (allocator.num_free, allocator.largest_free_run, allocator.external_fragmentation) == (0, 0, 0.0)


@pytest.mark.parametrize("num_tokens", [1, 5])
def test_a_sequence_neither_shrinks_nor_outgrows_its_reservation(num_tokens: int) -> None:
    allocator = ContiguousAllocator(8)
    allocator.reserve(0, 4)
    allocator.extend(0, 2)
    with pytest.raises(InvalidQuantity, match="4 reserved"):
        allocator.extend(0, num_tokens)


def test_misuse_is_refused() -> None:
    with pytest.raises(InvalidQuantity):
        ContiguousAllocator(0)
    allocator = ContiguousAllocator(4)
    with pytest.raises(InvalidQuantity):
        allocator.reserve(0, 0)
    allocator.reserve(0, 1)
    with pytest.raises(ValueError, match="already"):
        allocator.reserve(0, 1)
    with pytest.raises(KeyError):
        allocator.release(7)


@pytest.mark.parametrize(("field", "value"), [("start", 1), ("num_slots", 3), ("used", 5)])
def test_check_notices_broken_books(field: str, value: int) -> None:
    allocator = ContiguousAllocator(4)
    allocator.reserve(0, 2)
    allocator.reserve(1, 2)
    setattr(allocator.reservations[1 if field == "start" else 0], field, value)
    with pytest.raises(InvariantViolation):
        allocator.check()


class Line(RuleBasedStateMachine):
    """The allocator against a plain list that says which sequence owns each slot."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = ContiguousAllocator(24)
        self.owner: list[int | None] = [None] * 24
        self.used: dict[int, int] = {}
        self.next_sequence = 0

    @rule(size=st.integers(1, 26), best_fit=st.booleans())
    def reserve(self, size: int, best_fit: bool) -> None:
        starts = [s for s in range(24 - size + 1) if self.owner[s : s + size] == [None] * size]
        if not starts:
            before = self.allocator.reservations
            with pytest.raises(OutOfSlots):
                self.allocator.reserve(self.next_sequence, size, best_fit=best_fit)
            assert self.allocator.reservations == before
            return
        start = self.allocator.reserve(self.next_sequence, size, best_fit=best_fit).start
        assert start in starts if best_fit else start == starts[0]
        self.owner[start : start + size] = [self.next_sequence] * size
        self.used[self.next_sequence] = 0
        self.next_sequence += 1

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.used)))
        self.used[sequence] = data.draw(st.integers(self.used[sequence], self.owner.count(sequence)))
        self.allocator.extend(sequence, self.used[sequence])

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.used)))
        self.allocator.release(sequence)
        self.owner = [None if owner == sequence else owner for owner in self.owner]
        del self.used[sequence]

    @invariant()
    def the_books_agree_with_the_line(self) -> None:
        self.allocator.check()
        free = "".join("." if owner is None else "x" for owner in self.owner)
        longest = max(map(len, free.split("x")))
        assert self.allocator.num_free == free.count(".")
        assert self.allocator.largest_free_run == longest
        assert self.allocator.internal_waste == free.count("x") - sum(self.used.values())
        for reservation in self.allocator.reservations:
            run = self.owner[reservation.start : reservation.stop]
            assert set(run) == {reservation.sequence}


TestLine = Line.TestCase
