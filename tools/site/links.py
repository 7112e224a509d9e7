"""Link checker: every address on the pages of a site leads to a file and an anchor of it, and nothing is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

#: Attributes from which a browser fetches by itself.
FETCHED = {"src", "srcset", "poster", "data", "action"}


@dataclass
class Seen(HTMLParser):
    """What a page names, and what it refers to."""

    anchors: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  #: <a href>: followed when somebody clicks
    fetched: list[str] = field(default_factory=list)  #: what the browser takes by itself

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in FETCHED or name == "href":
                self.fetched.append(value or "")
            elif name == "style":
                self.fetched += addresses_in_style(value or "")


def addresses_in_style(text: str) -> list[str]:
    return re.findall(r"url\(\s*[\"']?([^\"')]+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)


def broken(site: Path) -> list[str]:
    """What is wrong with the links of the site, one line each; empty when nothing is."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    problems = []
    for path, seen in pages.items():
        name = path.relative_to(site)
        problems += [f"{name}: the anchor {twice!r} is there twice" for twice in _twice(seen.anchors)]
        for address in seen.fetched:
            if re.match(r"[a-z]+:|//", address) and not address.startswith("data:"):
                problems.append(f"{name}: {address[:80]} is fetched from a network")
        for address in seen.links + seen.fetched:
            if not re.match(r"[a-z]+:|//", address):
                problems += [f"{name}: {problem}" for problem in _lost(address, path, site, pages)]
    for style in site.rglob("*.css"):
        found = addresses_in_style(style.read_text(encoding="utf-8"))
        problems += [
            f"{style.relative_to(site)}: {address} is fetched" for address in found if ":" in address or "//" in address
        ]
    return problems


def _read(path: Path) -> Seen:
    seen = Seen()
    seen.feed(path.read_text(encoding="utf-8"))
    return seen


def _lost(address: str, path: Path, site: Path, pages: dict[Path, Seen]) -> list[str]:
    file, _, anchor = address.partition("#")
    target = (path.parent / unquote(file)).resolve() if file else path
    if not target.is_file() or site.resolve() not in target.resolve().parents:
        return [f"{address} leads nowhere on the site"]
    known = next((seen for page, seen in pages.items() if page.resolve() == target.resolve()), None)
    if anchor and (known is None or unquote(anchor) not in known.anchors):
        return [f"{address} names an anchor that is not there"]
    return []


def _twice(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}
