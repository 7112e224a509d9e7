"""The tensor of page tables equals the tables, whatever happened between two steps."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from pagedlab.engine.tables import TableMirror, common_pages
from pagedlab.memory.table import HOLE, PageTable

names = st.integers(0, 20)


class MirrorMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.mirror, self.tables, self.page = TableMirror(), dict[int, PageTable](), 0

    def fresh(self) -> int:
        self.page += 1
        return self.page

    @rule(name=names, length=st.integers(1, 40))
    def come_or_come_back_after_preemption(self, name: int, length: int) -> None:
        self.tables[name] = PageTable(4, [self.fresh() for _ in range(length)])

    @rule(name=names, by=st.integers(1, 30))
    def grow(self, name: int, by: int) -> None:
        if name in self.tables:
            self.tables[name].pages += [self.fresh() for _ in range(by)]

    @rule(name=names)
    def copy_on_write(self, name: int) -> None:
        if name in self.tables:
            self.tables[name].replace(len(self.tables[name]) - 1, self.fresh())

    @rule(name=names, by=st.integers(1, 5))
    def give_up_drafts(self, name: int, by: int) -> None:
        for _ in range(min(by, len(self.tables.get(name, ())) - 1)):
            self.tables[name].pop()

    @rule(name=names)
    def leave(self, name: int) -> None:
        self.tables.pop(name, None)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def step_with_some_of_them(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.tables)), min_size=1, unique=True))
        batch = self.mirror.batch([self.tables[name] for name in chosen])
        assert batch.shape == (len(chosen), max(len(self.tables[name]) for name in chosen))
        for row, name in zip(batch.tolist(), chosen, strict=True):
            pages = self.tables[name].pages
            assert row[: len(pages)] == pages


TestMirror = MirrorMachine.TestCase


def test_a_table_that_was_away_for_a_step_is_mirrored_anew() -> None:
    mirror, stays, leaves = TableMirror(), PageTable(4, [1, 2]), PageTable(4, [3, 4])
    mirror.batch([stays, leaves])
    mirror.batch([stays])
    mirror.batch([PageTable(4, [5, 6]), stays])  # takes the row that the other had
    assert mirror.batch([leaves, stays]).tolist() == [[3, 4], [1, 2]]


@given(
    shared=st.integers(0, 6),
    own=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    page_size=st.integers(1, 3),
    filled=st.integers(0, 2),
)
def test_common_pages_are_full_and_in_every_table(shared: int, own: list[int], page_size: int, filled: int) -> None:
    fresh = itertools.count(shared)
    tables = []
    for count in own:
        pages = [*range(shared), *itertools.islice(fresh, count)]
        tokens = max(0, len(pages) * page_size - filled % page_size)
        tables.append(PageTable(page_size, pages, tokens))
    full = min(table.num_tokens // page_size for table in tables)
    expected = full if len(own) == 1 else min(shared, full)
    assert common_pages(tables) == expected


def test_pages_behind_a_window_are_common_to_nobody() -> None:
    tables = [PageTable(4, [HOLE, HOLE, 3, page], 14) for page in (5, 6)]
    assert common_pages(tables) == 0
