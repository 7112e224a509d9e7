"""Draw the pictures of the README: python -m tools.pictures (or `make pictures`)."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench import race_picture
from bench.race_report import kept_results
from pagedlab.demo import NUM_PAGES, load, serve
from pagedlab.view.figures import svg
from pagedlab.view.frames import count, frame_at
from pagedlab.view.svg import page_map_svg

ROOT = Path(__file__).resolve().parent.parent
IMAGES, RESULTS = ROOT / "docs" / "images", ROOT / "bench" / "results"


def main() -> None:
    """The page map of the demo, at the step that shows most: many requests at work, and pages kept for others."""
    llm, meter = load()
    serve(llm, meter, Console(quiet=True))
    moments = [(count(frame_at(llm.trace, step)), step) for step in range(len(llm.trace.steps()))]
    _, step = max((counts.running, step) for counts, step in moments if counts.cached > NUM_PAGES // 8)
    # Whoever reads most pages of others.
    views = frame_at(llm.trace, step).sequences
    select = max((key for key, view in views.items() if view.pages), key=lambda key: views[key].hit)
    IMAGES.mkdir(parents=True, exist_ok=True)
    print(page_map_svg(llm.trace, step=step, select=select, title="pagedlab demo").save(IMAGES / "page_map.svg"))
    print(draw_race())


def draw_race(folder: Path = IMAGES) -> Path:
    """What the race that is kept has measured."""
    race = kept_results(RESULTS)
    path = folder / "race.svg"
    path.write_text(svg(race_picture.draw(race), race_picture.alt(race)), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
