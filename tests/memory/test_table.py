"""PageTable: from a position in a sequence to the slot where its keys and values live."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.memory.table import PageTable


@st.composite
def tables(draw: st.DrawFn) -> PageTable:
    page_size = draw(st.integers(1, 9))
    pages = draw(st.lists(st.integers(0, 99), unique=True, max_size=12))
    most = len(pages) * page_size
    return PageTable(page_size, pages, draw(st.integers(max(0, most - page_size + 1), most)))


def test_logical_pages_are_found_wherever_they_lie() -> None:
    table = PageTable(4, [0, 7, 2, 11], num_tokens=14)
    assert [table.locate(position) for position in (0, 3, 4, 8, 13)] == [(0, 0), (0, 3), (7, 0), (2, 0), (11, 1)]
    assert table.slots(2, 9) == [2, 3, 28, 29, 30, 31, 8]
    assert (table.num_slots, table.waste, len(table)) == (16, 2, 4)


@given(tables())
def test_a_slot_is_its_page_times_page_size_plus_offset(table: PageTable) -> None:
    for position, slot in enumerate(table.slots(0, table.num_tokens)):
        page, offset = table.locate(position)
        assert slot == page * table.page_size + offset
        assert page == table.pages[position // table.page_size]
        assert offset == position % table.page_size


@given(tables(), st.data())
def test_slots_of_a_range_are_a_slice_of_all_slots(table: PageTable, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, table.num_tokens))
    stop = data.draw(st.integers(start, table.num_tokens))
    assert table.slots(start, stop) == table.slots(0, table.num_tokens)[start:stop]


@given(tables())
def test_no_two_positions_share_a_slot_and_waste_is_less_than_a_page(table: PageTable) -> None:
    assert len(set(table.slots(0, table.num_tokens))) == table.num_tokens
    assert table.num_tokens + table.waste == table.num_slots
    assert 0 <= table.waste < table.page_size


@given(tables())
def test_positions_outside_the_sequence_are_refused(table: PageTable) -> None:
    end = table.num_tokens
    for position in (-1, end):
        with pytest.raises(IndexError, match=f"position {position} was asked for; this table holds {end} tokens"):
            table.locate(position)
    for start, stop in ((-1, 0), (0, end + 1), (end + 1, end), (1, 0)):
        with pytest.raises(IndexError):
            table.slots(start, stop)
