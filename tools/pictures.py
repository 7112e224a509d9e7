"""Draw the pictures of the README: python -m tools.pictures (or `make pictures`)."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pagedlab.demo import load, serve
from pagedlab.view.frames import count, frame_at
from pagedlab.view.svg import page_map_svg

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> None:
    """The page map of the demo at the step with the most shared pages, one sequence's page table drawn."""
    llm, meter = load()
    serve(llm, meter, Console(quiet=True))
    step = meter.busiest_step
    page_map = frame_at(llm.trace, step)
    print(count(page_map))
    # A sequence that reads pages of others, too: the last that came in with a prefix hit.
    select = max(key for key, view in page_map.sequences.items() if view.hit and view.pages)
    IMAGES.mkdir(parents=True, exist_ok=True)
    print(page_map_svg(llm.trace, step=step, select=select, title="pagedlab demo").save(IMAGES / "page_map.svg"))


if __name__ == "__main__":
    main()
