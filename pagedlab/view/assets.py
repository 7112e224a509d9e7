"""The page map's JavaScript and CSS as they are sent to a browser: plain modules, joined without a build step."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

#: Each module imports only from those before it.
MODULES = tuple(
    f"page_map{part}.js"
    for part in (
        *("_replay", "_film", "_clock", "_cells", "_draw", "_timeline"),
        *("_parts", "_panel", "_controls", "_svg", ""),
    )
)


@cache
def script() -> str:
    """One ES module. Its parts' imports from each other are left out: the names are all there."""
    return "\n".join(re.sub(r'^import .* from "\./.*";$', "", read(name), flags=re.MULTILINE) for name in MODULES)


@cache
def style() -> str:
    return read("page_map.css")


def read(name: str) -> str:
    return files("pagedlab.view").joinpath(name).read_text(encoding="utf-8")
