"""Numbers out of a file, which may claim anything: each is believed once it has the right type and lies in range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pagedlab.errors import CorruptFile


def require(settings: Mapping[str, Any], name: str) -> Any:
    """The setting of this name; CorruptFile if it is missing or null."""
    if settings.get(name) is None:
        raise CorruptFile(f"the model does not say its {name!r}")
    return settings[name]


def check_count(name: str, value: object, largest: int) -> int:
    """``value`` if it is an integer from 1 to ``largest``; a file may claim any number, and what it claims is built."""
    if not (type(value) is int and 1 <= value <= largest):
        raise CorruptFile(f"the model's {name} is {value!r}; an integer from 1 to {largest} is expected")
    return value


def check_number(name: str, value: object, *, above: float = 0.0) -> float:
    """``value`` if it is a finite float above ``above``."""
    if not (type(value) is float and math.isfinite(value) and value > above):
        raise CorruptFile(f"the model's {name} is {value!r}; a finite number above {above:g} is expected")
    return value


def as_float(value: Any) -> Any:
    """JSON writes 10000.0 as 10000 where it likes; anything else is left for the check to refuse."""
    return float(value) if type(value) is int and abs(value) < 2**53 else value
