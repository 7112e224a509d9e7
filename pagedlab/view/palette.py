"""Colours and labels that every view of the pages shares.

Colours are those of Okabe and Ito, which stay apart for colour-blind eyes. None of them carries a meaning alone:
shared pages are hatched, cached ones dotted, and owners are named.
"""

from __future__ import annotations

from pagedlab.memory.events import NONE, Trace

#: Owners take these by turns. Black, the eighth colour of the set, is left to text and lines.
OWNERS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")
#: Text that can be read on each of them.
ON_OWNERS = ("#000000", "#000000", "#000000", "#000000", "#000000", "#000000", "#FFFFFF")

#: For thin lines on white: those of the set that stand out from it by 3 to 1 or more.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
#: Lines that only guide the eye.
GUIDE = "#767676"


def owner_colour(sequence: int) -> str:
    return OWNERS[sequence % len(OWNERS)]


def text_colour(sequence: int) -> str:
    """For text on ``owner_colour(sequence)``."""
    return ON_OWNERS[sequence % len(OWNERS)]


def is_pin(sequence: int) -> bool:
    """Pins hold pages as sequences do, under names below zero."""
    return sequence < NONE


def label(trace: Trace, sequence: int) -> str:
    """What the sequence is called by whoever sent it. Pins are numbered."""
    if is_pin(sequence):
        return f"pin {NONE - sequence}"
    info = trace.sequences.get(sequence)
    return info.label if info is not None else f"sequence {sequence}"
