"""Exercises: one check behind three doors.

In a notebook ``check("03.free_queue")``, in a terminal ``pagedlab learn check 03.free_queue``, and
``pytest exercises -k 03.free_queue`` all run the same check over the same file, and say the same.
"""

from pagedlab.learn.card import Card
from pagedlab.learn.run import check
from pagedlab.learn.workbook import solved

__all__ = ["Card", "check", "solved"]
