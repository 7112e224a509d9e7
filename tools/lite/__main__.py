"""python -m tools.lite OUT"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.lite.build import build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.lite", description="The edition without install.")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write; what is there is replaced")
    out = parser.parse_args().out
    build(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.0f} MB in {out}; serve it with: python -m http.server --directory {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
