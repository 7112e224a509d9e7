"""The page map as one HTML file that opens anywhere, without a network or a kernel."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from pathlib import Path

from pagedlab.memory.events import Trace
from pagedlab.view import assets
from pagedlab.view.feed import Feeds
from pagedlab.view.side_by_side import SideBySide

_START = """
const bytes = Uint8Array.from(atob(document.getElementById("trace").textContent), (letter) => letter.charCodeAt(0));
globalThis.pageMap = mount(document.body, (await packetsIn(bytes)).map((packet) => new Film(packet)), {moment});
"""

# The policy lets the one script run whose hash it names: whatever text a model wrote into the trace cannot run.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
html {{ color-scheme: light dark; }}
body {{ max-width: 1180px; margin: 24px auto; padding: 0 16px; font-family: system-ui, sans-serif; }}
h1 {{ font-size: 20px; }}
{style}</style>
</head>
<body>
<h1>{title}</h1>
<noscript>This map is drawn by JavaScript, which is switched off here.</noscript>
<script id="trace" type="application/octet-stream">{trace}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def page_map_html(trace: Trace, path: str | Path, *, title: str = "Page map") -> Path:
    """Write the trace with its viewer to ``path`` and return it."""
    return _write(SideBySide([trace]), None, path, title)


def page_maps_html(
    traces: Sequence[Trace],
    path: str | Path,
    *,
    titles: Sequence[str] = (),
    seconds: Sequence[Sequence[float]] | None = None,
    at: float | None = None,
    title: str = "Page maps side by side",
) -> Path:
    """Write several traces with their viewer to ``path`` and return it. They stand as in ``page_maps``."""
    shown = SideBySide(traces, titles, seconds)
    return _write(shown, None if at is None else shown.moment(at), path, title)


def _write(shown: SideBySide, moment: float | None, path: str | Path, title: str) -> Path:
    script = assets.script() + _START.replace("{moment}", "null" if moment is None else repr(float(moment)))
    page = _PAGE.format(
        title=escape(title),
        style=assets.style(),
        script=script,
        hash=b64encode(sha256(script.encode()).digest()).decode(),
        trace=b64encode(Feeds(shown).whole()).decode(),
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path
