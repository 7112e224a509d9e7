"""How far apart two colours are, to whom: contrast as WCAG 2.2 counts it, and distance as colour-blind eyes see it."""

from __future__ import annotations

import math

#: Linear RGB as seen without one kind of cones: Machado, Oliveira and Fernandes (2009), severity 1.0.
EYES = {
    "all three": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE_POINT = (0.95047, 1.0, 1.08883)


def linear(colour: str) -> list[float]:
    """``#RRGGBB`` -> linear RGB, 0 to 1."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str = "#FFFFFF") -> float:
    """From 1 (no contrast) to 21 (black on white)."""
    light, dark = sorted((_times(TO_XYZ, linear(colour))[1] for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def distance(one: str, other: str, eyes: str) -> float:
    """CIE 1976 ΔE between two colours as ``eyes`` see them: a just noticeable difference is about 2.3."""
    return math.dist(_lab(one, eyes), _lab(other, eyes))


def least_distance(one: str, other: str) -> float:
    """To those who tell the two apart worst."""
    return min(distance(one, other, eyes) for eyes in EYES)


def _lab(colour: str, eyes: str) -> tuple[float, float, float]:
    seen = [min(1.0, max(0.0, part)) for part in _times(EYES[eyes], linear(colour))]
    scaled = (part / white for part, white in zip(_times(TO_XYZ, seen), WHITE_POINT, strict=True))
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in scaled)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _times(matrix: tuple[tuple[float, ...], ...], vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
