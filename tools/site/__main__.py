"""python -m tools.site OUT [--live [NAME ...]]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.site.build import build
from tools.site.links import broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.site", description="The course as a static site.")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="the folder to write; what the site had there is replaced"
    )
    parser.add_argument(
        "--live",
        nargs="*",
        metavar="NAME",
        help="run the notebooks named, or all with widgets, so that these move, too",
    )
    arguments = parser.parse_args()
    live = () if arguments.live is None else arguments.live or [""]
    index = build(arguments.out, live=live)
    problems = broken(arguments.out)
    for problem in problems:
        print(f"FAIL {problem}")
    print(f"{sum(1 for _ in arguments.out.glob('*.html'))} pages; open {index}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
