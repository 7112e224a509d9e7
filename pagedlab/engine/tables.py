"""TableMirror: the page tables of a step's sequences as rows of one tensor, updated by what changed."""

from __future__ import annotations

import torch
from torch import Tensor

from pagedlab.memory.table import HOLE, PageTable


class TableMirror:
    """A step costs what its tables grew by, not what they hold: long contexts stay cheap.

    A table knows from where on it has changed since it was last mirrored (``dirty``). Rows stand in the step's own
    order; when that changes, because somebody came or left, they are put in order anew.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._tables: list[PageTable] = []
        self._tensor = torch.zeros((0, 0), dtype=torch.int32, device=device)

    def batch(self, tables: list[PageTable]) -> Tensor:
        """``[B, max_pages]`` int32, a row for each table, in order; entries past a table's end are undefined.

        The tensor is the mirror's own: it holds until the next call.
        """
        width = max(len(table.pages) for table in tables)
        if tables != self._tables:
            self._arrange(tables)
        if width > self._tensor.shape[1]:
            self._tensor = _widened(self._tensor, width)
        self._write_changes(tables)
        return self._tensor[:, :width]

    def _arrange(self, tables: list[PageTable]) -> None:
        row_of = {table: row for row, table in enumerate(self._tables)}
        arranged = self._tensor.new_zeros(len(tables), self._tensor.shape[1])
        stay = [(row, row_of[table]) for row, table in enumerate(tables) if table in row_of]
        if stay:
            new, old = torch.tensor(stay, device=self._tensor.device).T
            arranged[new] = self._tensor[old]
        for table in tables:
            if table not in row_of:
                table.dirty = 0  # it may have been mirrored before, in a row that is another's by now
        self._tables, self._tensor = list(tables), arranged

    def _write_changes(self, tables: list[PageTable]) -> None:
        rows: list[int] = []
        columns: list[int] = []
        pages: list[int] = []
        for row, table in enumerate(tables):
            start, stop = table.dirty, len(table.pages)
            if start < stop:
                rows += [row] * (stop - start)
                columns += range(start, stop)
                pages += table.pages[start:]
                table.dirty = stop
        if pages:
            row_ids, column_ids, entries = torch.tensor((rows, columns, pages), device=self._tensor.device)
            self._tensor[row_ids, column_ids] = entries.int()


def _widened(tensor: Tensor, width: int) -> Tensor:
    """A copy with at least twice the columns, so that growing is paid for once in a while."""
    rows, columns = tensor.shape
    widened = tensor.new_zeros(rows, max(width, 2 * columns))
    widened[:, :columns] = tensor
    return widened


def common_pages(tables: list[PageTable]) -> int:
    """How many full pages at the beginning all tables have in common. Where there are none, this is soon known."""
    first = tables[0].pages
    low, high = 0, min(table.num_tokens // table.page_size for table in tables)
    if any(table.pages[:1] != first[:1] for table in tables):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        same = first[:middle]
        if all(table.pages[:middle] == same for table in tables):
            low = middle
        else:
            high = middle - 1
    return 0 if HOLE in first[:low] else low
