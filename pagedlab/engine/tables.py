"""TableMirror: the page tables of running sequences as rows of one tensor, updated by what changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pagedlab.memory.table import PageTable


@dataclass(slots=True)
class _Row:
    index: int
    table: PageTable
    length: int = 0  #: leading entries that are mirrored
    last: int = -1  #: the last of them


class TableMirror:
    """A sequence's row costs what its table grew by, not what it holds: long contexts stay cheap.

    A table grows at its end, and copy-on-write replaces nothing but its last entry, so only the entries from the
    last mirrored one on can be stale. A sequence that was preempted comes back with a new table, and a new row.
    """

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._tensor = torch.zeros((8, 8), dtype=torch.int32)
        self._spare = list(range(8))

    def batch(self, tables: dict[int, PageTable]) -> Tensor:
        """``[B, max_pages]`` int32, a row for each table, in order; entries past a table's end are undefined."""
        self._drop_rows_not_in(tables)
        width = max(map(len, tables.values()))
        if width > self._tensor.shape[1]:
            self._tensor = _grown(self._tensor, 1, width)
        rows = [self._update(sequence, table) for sequence, table in tables.items()]
        return self._tensor[rows, :width]

    def _update(self, sequence: int, table: PageTable) -> int:
        row = self._rows.get(sequence)
        if row is None or row.table is not table:
            row = self._rows[sequence] = _Row(row.index if row else self._new_index(), table)
        if row.length != len(table) or row.last != table.pages[-1]:
            start = max(0, row.length - 1)
            self._tensor[row.index, start : len(table)] = torch.tensor(table.pages[start:], dtype=torch.int32)
            row.length, row.last = len(table), table.pages[-1]
        return row.index

    def _new_index(self) -> int:
        if not self._spare:
            rows = self._tensor.shape[0]
            self._tensor = _grown(self._tensor, 0, rows + 1)
            self._spare = list(range(rows, self._tensor.shape[0]))
        return self._spare.pop()

    def _drop_rows_not_in(self, tables: dict[int, PageTable]) -> None:
        for sequence in [s for s in self._rows if s not in tables]:
            self._spare.append(self._rows.pop(sequence).index)


def _grown(tensor: Tensor, dim: int, at_least: int) -> Tensor:
    """A copy with ``dim`` at least doubled, so that growing is paid for once in a while."""
    shape = list(tensor.shape)
    shape[dim] = max(at_least, 2 * shape[dim])
    grown = tensor.new_zeros(shape)
    grown[: tensor.shape[0], : tensor.shape[1]] = tensor
    return grown
