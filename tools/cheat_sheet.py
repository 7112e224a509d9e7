"""Draw the cheat sheet, one page, as SVG and PDF: python -m tools.cheat_sheet (or `make pictures`).

Every number in an example is computed here, by the functions that the course uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from pagedlab import arithmetic
from pagedlab.arithmetic import GIB, KIB, MODELS

DOCS = Path(__file__).resolve().parent.parent / "docs"
INK, PALE = "#24292F", "#57606A"


class Line(NamedTuple):
    formula: str
    example: str


def sections() -> dict[str, list[Line]]:
    """Formulas, each with an example that is worked out."""
    model = MODELS["Llama-3-8B"]
    token = arithmetic.kv_bytes_per_token(model.num_layers, model.num_kv_heads, model.head_dim)
    weights = arithmetic.weight_bytes(arithmetic.num_parameters(model))
    one = arithmetic.kv_bytes(1, 20_480, token)
    three, four = [800, 2300, 3900], [600, 900, 1300, 1700]
    pages = arithmetic.pool_pages(80 * GIB, weights, 16, token)
    prefill, decode = arithmetic.prefill_cost(model, 1024), arithmetic.decode_cost(model, [1024])
    at_once = arithmetic.paged_concurrency(pages, 16, 20_480)
    reserved, paged = arithmetic.contiguous_waste(three, 4096), arithmetic.paged_waste(three, 256)
    slot = [0, 7, 2, 11][50 // 16] * 16 + 50 % 16
    return {
        "Memory": [
            Line("bytes a token = layers × 2 × KV heads × head size × bits / 8", f"Llama-3-8B: {token // KIB} KiB"),
            Line(
                "cache = users × tokens × bytes a token",
                f"20,480 tokens: {one / GIB:.1f} GiB; 16 users: {16 * one / GIB:.0f} GiB",
            ),
            Line("pages = (memory − weights − step) / (P × bytes a token)", f"80 GiB, P 16: {pages:,}"),
            Line("users at once = pages / ⌈tokens / P⌉", f"of 20,480 tokens each: {at_once}"),
        ],
        "Waste": [
            Line("reserved: users × reservation − used", f"3 × 4,096 for {sum(three):,} tokens: {reserved:,}"),
            Line("in pages: Σ ⌈used / P⌉ × P − used", f"P 256: {paged}; four: {arithmetic.paged_waste(four, 256)}"),
            Line("never more than users × (P − 1)", f"here {arithmetic.paged_waste_bound(3, 256)}"),
        ],
        "Addresses": [
            Line("logical page = position // P; offset = position mod P", "position 50, P 16: page 3, offset 2"),
            Line("slot = table[logical page] × P + offset", f"table [0, 7, 2, 11]: {slot}"),
            Line("row i of a chunk of R sees positions 0 … L − R + i", ""),
        ],
        "Attention in parts": [
            Line("m' = max(m, score); shrink = e^(m − m'); w = e^(score − m')", "start: m = −∞, total = acc = 0"),
            Line("total' = total · shrink + w; acc' = acc · shrink + w · v", "result: acc / total"),
            Line("lse = m + log total; out = Σ softmax(lse)ₛ · outₛ over parts s", "empty part: lse = −∞"),
        ],
        "Speed": [
            Line(
                "intensity = operations / bytes; ridge = peak / bandwidth",
                f"prefill of 1,024: {prefill.intensity:.0f}; decode: {decode.intensity:.1f}",
            ),
            Line("time ≥ max(operations / peak, bytes / bandwidth)", "decode waits for memory, prefill for arithmetic"),
            Line("E2E = TTFT + TPOT × (output − 1)", "goodput: requests a second that met both targets"),
            Line("in the system = rate × time in it (Little)", ""),
        ],
        "Prefix cache": [
            Line("key of page i = hash(key of page i − 1, its tokens); root: salt", "full pages only"),
            Line("hit ≤ ⌊(prompt − 1) / P⌋ × P", f"prompt 32, P 16: {31 // 16 * 16}"),
            Line("evict: idle longest; tails before heads; in a tree, leaves", ""),
        ],
    }


#: As read from their sources and documentation, November 2026 (chapter 11).
SYSTEMS = {
    "vLLM": ("16", "hash chain", "the next step fits", "last running, recompute", "2,048 tokens a step"),
    "SGLang": ("1", "radix tree", "optimistic ratio", "least output, recompute", "ratio 0.7 towards 0.1"),
    "TensorRT-LLM": (
        "32",
        "tree, partial hits",
        "guaranteed no evict",
        "nobody, or who started last",
        "priority 35 of 100",
    ),
    "LMDeploy": ("64", "trie of pages", "—", "whole sequences, LRU", "0.8 of free memory"),
    "TGI": ("—", "radix tree", "reserve everything", "never", "4,096 a prefill, waiting 20"),
}
COLUMNS = ("page", "prefix cache", "admission", "who gives way", "a default to know")


def draw() -> Figure:
    """A4, landscape."""
    figure = Figure(figsize=(11.69, 8.27))
    figure.text(0.03, 0.955, "pagedlab · the cheat sheet", size=17, weight="bold", color=INK)
    figure.text(
        0.03, 0.93, "each formula with an example, worked out by the functions of the course", size=9, color=PALE
    )
    titles = list(sections().items())
    for column, group in enumerate((titles[:3], titles[3:])):
        x, y = 0.03 + 0.49 * column, 0.89
        for title, lines in group:
            figure.text(x, y, title, size=11, weight="bold", color="#0072B2")
            for line in lines:
                y -= 0.027
                figure.text(x, y, line.formula, size=8.2, color=INK)
                if line.example:
                    y -= 0.02
                    figure.text(x + 0.015, y, f"→ {line.example}", size=7.6, color=PALE)
            y -= 0.042
    _draw_systems(figure)
    return figure


def _draw_systems(figure: Figure) -> None:
    places = (0.03, 0.15, 0.22, 0.38, 0.55, 0.76)
    y = 0.235
    figure.text(places[0], y, "Five systems", size=11, weight="bold", color="#0072B2")
    for x, text in zip(places[1:], COLUMNS, strict=True):
        figure.text(x, y, text, size=8.2, color=PALE)
    for name, facts in SYSTEMS.items():
        y -= 0.03
        for x, text in zip(places, (name, *facts), strict=True):
            figure.text(x, y, text, size=8.6, color=INK, weight="bold" if text == name else "normal")
    note = "Defaults as of November 2026, from their sources and documentation."
    figure.text(0.03, 0.03, f"{note} used · cached · free: a page is always exactly one of them.", size=8, color=PALE)


def write(folder: Path = DOCS) -> list[Path]:
    """The same bytes every time."""
    paths = [folder / "cheat_sheet.svg", folder / "cheat_sheet.pdf"]
    with mpl.rc_context({"svg.hashsalt": "pagedlab", "svg.fonttype": "none"}):
        figure = draw()
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return paths


if __name__ == "__main__":
    for path in write():
        print(path.relative_to(DOCS.parent))
