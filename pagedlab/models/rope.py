"""Rope: how fast each pair of a head turns, and how that is slowed for contexts longer than those of training.

Rotary position embedding (arXiv:2104.09864) turns pair i of a head by ``position * theta ** (-2 i / D)`` radians: the
first pairs fast, the last slowly. Every scaling below is the same idea with another share: ``share`` of a pair's
frequency is divided by ``factor``, the rest is kept,

    frequency * (1 - share) + frequency / factor * share

and what differs is which pairs are slowed. Fast pairs tell neighbours apart and have been round many times within the
contexts of training; slow pairs have not, and a longer context would turn them to angles that were never seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from pagedlab.errors import CorruptFile, UnsupportedModel
from pagedlab.models.numbers import as_float, check_number, require


@dataclass(frozen=True)
class RopeScaling:
    """Position interpolation (arXiv:2306.15595), "linear": every pair is slowed. Fields are named as in config.json."""

    factor: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is MISSING:
                check_number(f"RoPE {field.name}", value)
        if self.factor < 1:
            raise CorruptFile(f"the model's RoPE factor is {self.factor}; a number from 1 is expected")

    def shares(self, frequencies: Sequence[float], theta: float) -> list[float]:
        """How much of each pair's frequency is divided by ``factor``, from 0 to 1."""
        return [1.0] * len(frequencies)

    @property
    def magnitude(self) -> float:
        """Rotated queries and keys are multiplied by this."""
        return 1.0


@dataclass(frozen=True)
class Llama3Scaling(RopeScaling):
    """Llama 3.1's: by the turns a pair makes in the contexts of training, slowed if few, kept if many."""

    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low_freq_factor >= self.high_freq_factor:
            raise CorruptFile(
                f"RoPE's low_freq_factor is {self.low_freq_factor}, its high_freq_factor {self.high_freq_factor}; "
                "the first must be the smaller"
            )

    def shares(self, frequencies: Sequence[float], theta: float) -> list[float]:
        turns = [self.original_max_position_embeddings * frequency / (2 * math.pi) for frequency in frequencies]
        return [1 - _ramp(turn, self.low_freq_factor, self.high_freq_factor) for turn in turns]


@dataclass(frozen=True)
class YarnScaling(RopeScaling):
    """YaRN (arXiv:2309.00071): kept up to the pair that turns ``beta_fast`` times, slowed from ``beta_slow`` times on,
    a ramp over the pairs between. Longer contexts also spread attention thinner, so scores are made larger."""

    original_max_position_embeddings: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None

    def shares(self, frequencies: Sequence[float], theta: float) -> list[float]:
        num_pairs = len(frequencies)

        def pair_that_turns(times: float) -> float:
            longest = self.original_max_position_embeddings / (2 * math.pi * times)
            return num_pairs * math.log(longest) / math.log(theta)

        first = max(math.floor(pair_that_turns(self.beta_fast)), 0)
        last = min(math.ceil(pair_that_turns(self.beta_slow)), 2 * num_pairs - 1)
        return [_ramp(pair, first, last) for pair in range(num_pairs)]

    @property
    def magnitude(self) -> float:
        return self.attention_factor or 0.1 * math.log(self.factor) + 1.0


@dataclass(frozen=True)
class Rope:
    theta: float  #: the slowest pair turns about once in 2 pi * theta positions
    scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        check_number("RoPE theta", self.theta, above=1.0)

    def frequencies(self, head_dim: int) -> list[float]:
        """Radians by which each of the D / 2 pairs of a head turns from one position to the next."""
        plain = [self.theta ** (-2 * pair / head_dim) for pair in range(head_dim // 2)]
        if self.scaling is None:
            return plain
        shares = self.scaling.shares(plain, self.theta)
        return [f * (1 - share) + f / self.scaling.factor * share for f, share in zip(plain, shares, strict=True)]

    @property
    def magnitude(self) -> float:
        return 1.0 if self.scaling is None else self.scaling.magnitude

    def stretched(self, max_context: int) -> int:
        """Tokens a model can attend over that says ``max_context``: with YaRN it may state the length before it."""
        if not isinstance(self.scaling, YarnScaling):
            return max_context
        return max(max_context, int(min(self.scaling.original_max_position_embeddings * self.scaling.factor, 2.0**62)))


#: ``rope_type`` in config.json.
SCALINGS = {"default": None, "linear": RopeScaling, "llama3": Llama3Scaling, "yarn": YarnScaling}


def read_rope(settings: object, *, theta: Any, max_context: object) -> Rope:
    """From a dictionary of config.json. ``theta`` and ``max_context`` stand beside it in older files."""
    if not isinstance(settings, Mapping):
        raise CorruptFile(f"config.json holds RoPE settings {settings!r}; a dictionary is expected")
    given = {name: value for name, value in settings.items() if value is not None}
    kind = given.pop("rope_type", given.get("type", "default"))
    given.pop("type", None)
    if not (isinstance(kind, str) and kind in SCALINGS):
        raise UnsupportedModel(f"the model's rope_type is {kind!r}; pagedlab knows {', '.join(SCALINGS)}")
    if given.pop("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedModel("the model's partial_rotary_factor is not 1; pagedlab rotates whole heads")
    theta = as_float(given.pop("rope_theta", theta))
    scaling = SCALINGS[kind]
    known: dict[str, Any] = {}
    for field in fields(scaling) if scaling is not None else ():
        if field.name == "original_max_position_embeddings":
            given.setdefault(field.name, max_context)
        if field.default is MISSING:
            require(given, field.name)
        if field.name in given:
            known[field.name] = as_float(given.pop(field.name))
    if given:
        raise UnsupportedModel(f"the model's RoPE settings of type {kind!r} hold {min(given)!r}, unknown to pagedlab")
    return Rope(theta, None if scaling is None else scaling(**known))


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high`` on, a straight line between."""
    return min(max((value - low) / max(high - low, 0.001), 0.0), 1.0)
