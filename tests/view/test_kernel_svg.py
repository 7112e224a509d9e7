"""The picture of what a kernel reads: right, described in words, safe, and drawn without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pagedlab.view.kernel_svg import KernelFilm, kernel_svg
from pagedlab.view.palette import owner_colour
from pagedlab_kernels.accesses import Access, KernelTrace, Launch, Program, TracedTensor

HOSTILE = "</title><script>alert(1)</script>"


def access(tensor: str, *runs: range, kind: str = "load") -> Access:
    return Access(kind, tensor, runs, 4, 0, f"x = tl.load({tensor})")  # type: ignore[arg-type]


def a_trace() -> KernelTrace:
    """Two pages of one head and four slots of 8 bytes; sequence 0 reads page 1, sequence 1 two slots of page 0."""
    kv = TracedTensor((2, 2, 1, 4, 2), 4)
    launch = Launch("decode", (2, 1, 1), {"kv": kv})
    for sequence, (start, stop) in enumerate([(32, 64), (0, 16)]):
        loads = [
            access("tables", range(4)),
            access("kv", range(start, stop)),
            access("kv", range(64 + start, 64 + stop)),
        ]
        launch.programs.append(Program((sequence, 0, 0), [*loads, access("out", range(8), kind="store")]))
    merge = Launch("merge", (1, 1, 1), {"kv": kv}, [Program((0, 0, 0), [access("out", range(16))])])
    return KernelTrace({"kv": kv}, [launch, merge])


@pytest.fixture
def trace() -> KernelTrace:
    return a_trace()


def paths(svg: str, fill: str) -> str:
    """The boxes of one colour."""
    return "".join(
        element.get("d") or "" for element in ElementTree.fromstring(svg).iter() if element.get("fill") == fill
    )


def test_the_steps_are_the_accesses_of_launches_that_touch_the_pages(trace: KernelTrace) -> None:
    assert len(KernelFilm(trace)) == 8
    for step in (-1, 8):
        with pytest.raises(LookupError, match="make steps 0 to 7"):
            kernel_svg(trace, step=step)


def test_the_whole_picture_says_what_was_read_how_often_and_how_contiguously(trace: KernelTrace) -> None:
    figure = kernel_svg(trace)
    assert "2 programs" in figure.alt and "4 loads, 96 bytes, each read once" in figure.alt
    assert "contiguous runs of 16 to 32 bytes" in figure.alt
    for sequence in (0, 1):  # the keys' box, the values', and the one in the legend is of another kind
        assert paths(str(figure), owner_colour(sequence)).count("M") == 2


def test_a_step_shows_what_has_been_asked_for_so_far_and_says_what_is_now(trace: KernelTrace) -> None:
    boxes = [paths(str(kernel_svg(trace, step=step)), owner_colour(0)).count("M") for step in range(5)]
    key = boxes[0]
    assert [count - key for count in boxes[:4]] == [0, 1, 2, 2]
    assert boxes[4] == 0  # the next program's turn: what the first one read is faint now
    figure = kernel_svg(trace, step=5)
    assert "step 6 of 8: sequence 1" in figure.alt
    assert "load of 16 bytes of kv: keys, 2 slots in 1 page, 1 contiguous run" in figure.alt
    assert "x = tl.load(kv)" in figure.alt


def test_the_same_trace_gives_the_same_picture_as_svg_and_as_png(trace: KernelTrace) -> None:
    assert str(kernel_svg(trace, step=3)) == str(kernel_svg(trace, step=3))
    assert kernel_svg(trace).mime_bundle()["image/png"] == kernel_svg(trace).mime_bundle()["image/png"]


def test_what_a_kernel_and_its_tensors_are_called_is_markup_nowhere(trace: KernelTrace) -> None:
    launch = trace.launches[0]
    trace.launches[0] = Launch(HOSTILE, launch.grid, launch.tensors, launch.programs)
    launch.programs[0].accesses[0] = access(HOSTILE, range(4))
    svg = str(kernel_svg(trace, step=0, axes=(HOSTILE, "head", "split")))
    assert "<script" not in svg
    assert any(HOSTILE in (element.text or "") for element in ElementTree.fromstring(svg).iter())


@pytest.mark.parametrize("shape", [(2, 1, 1, 1, 4), (2, 600, 1, 1, 4), (2, 300, 8, 16, 4), (2, 3, 40, 256, 4)])
def test_pools_of_any_size_stay_within_the_picture(shape: tuple[int, ...]) -> None:
    kv = TracedTensor(shape, 4)
    everything = access("kv", range(kv.num_bytes))
    trace = KernelTrace({"kv": kv}, [Launch("k", (1, 1, 1), {"kv": kv}, [Program((0, 0, 0), [everything])])])
    figure = kernel_svg(trace)
    root = ElementTree.fromstring(str(figure))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for element in root.iter():
        if element.tag.endswith("text"):
            assert 0 <= float(element.get("x", 0)) <= width and 0 <= float(element.get("y", 0)) <= height
    assert height < 4000 and len(str(figure)) < 2_000_000


def test_a_kernel_that_touches_no_page_makes_a_picture_of_untouched_pages() -> None:
    trace = KernelTrace({"kv": TracedTensor((2, 2, 1, 4, 2), 4)})
    assert len(KernelFilm(trace)) == 0
    assert "kv was not touched" in kernel_svg(trace).alt


def test_the_picture_is_drawn_without_torch_and_numpy() -> None:
    program = "import sys, pagedlab.view.kernel_svg; sys.exit(bool({'torch', 'numpy', 'triton'} & sys.modules.keys()))"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
