"""Colours of code, for a light page and a dark one, from two styles of Pygments."""

from __future__ import annotations

from pygments.style import StyleMeta
from pygments.styles import get_style_by_name
from pygments.token import STANDARD_TYPES

LIGHT, DARK = "default", "github-dark"


def code_style() -> str:
    """CSS: ``light-dark(…)`` chooses, as everywhere on the site."""
    light, dark = get_style_by_name(LIGHT), get_style_by_name(DARK)
    lines = []
    for token, name in STANDARD_TYPES.items():
        if not name:
            continue
        pair = [_colour(style, token) for style in (light, dark)]
        extra = "font-weight: 600;" if light.style_for_token(token)["bold"] and name[0] == "k" else ""
        if any(pair) or extra:
            ink = "light-dark({}, {})".format(*(colour or "currentColor" for colour in pair))
            lines.append(f".highlight .{name} {{ color: {ink}; {extra}}}")
    return "\n".join([*lines, ""])


def _colour(style: StyleMeta, token: object) -> str:
    colour = style.style_for_token(token)["color"]
    return f"#{colour}" if colour else ""
