"""How long the notebooks take to run: seconds of the wall clock, each alone, strictly checked as in CI.

python -m bench.notebooks [--json FILE] [NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pagedlab.progress import progress_bar

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def seconds_of(notebook: Path) -> float:
    """Raises CalledProcessError when an output differs, with what pytest said."""
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env", str(notebook)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=NOTEBOOKS.parent, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-2000:], file=sys.stderr)
        done.check_returncode()
    return time.perf_counter() - start


def table(seconds: dict[str, float]) -> str:
    """For bench/README.md."""
    rows = [f"| {name} | {value:.0f} |" for name, value in seconds.items()]
    return "\n".join(["| notebook | seconds |", "| --- | --- |", *rows, f"| all | {sum(seconds.values()):.0f} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginning of a notebook's name; all when absent")
    args = parser.parse_args()
    chosen = [n for n in sorted(NOTEBOOKS.glob("*.ipynb")) if n.name.startswith(tuple(args.names) or "")]
    seconds: dict[str, float] = {}
    with progress_bar("Notebooks", len(chosen), show=True) as advance:
        for notebook in chosen:
            seconds[notebook.stem] = round(seconds_of(notebook), 1)
            advance(1)
    shown = Table("notebook", "seconds")
    for name, value in seconds.items():
        shown.add_row(name, f"{value:.0f}")
    Console().print(shown)
    if args.json:
        about = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        report: dict[str, Any] = {"about": about, "seconds": seconds}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
