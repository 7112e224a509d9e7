"""The kernel player as Python makes it; what its slider does is tested in a browser."""

from __future__ import annotations

import json
import zlib

from pagedlab.view.kernel_player import KernelPlayer
from pagedlab.view.kernel_svg import kernel_svg
from tests.view.test_kernel_svg import a_trace


def test_every_step_and_the_whole_arrive_as_they_were_drawn() -> None:
    trace = a_trace()
    told = json.loads(zlib.decompress(KernelPlayer(trace)._film))
    pictures = ["\n".join(told["lines"][line] for line in picture) + "\n" for picture in told["pictures"]]
    assert pictures == [str(kernel_svg(trace, step=step)) for step in range(8)] + [str(kernel_svg(trace))]
    assert told["texts"][3] == kernel_svg(trace, step=3).alt
    assert told["starts"] == [0, 4]


def test_readers_without_a_kernel_see_the_whole_picture() -> None:
    data, metadata = KernelPlayer(a_trace())._repr_mimebundle_() or ({}, {})
    assert data["image/svg+xml"] == str(kernel_svg(a_trace()))
    assert metadata["image/png"]["alt"] == kernel_svg(a_trace()).alt
    assert data["text/plain"] == "KernelPlayer(decode on the pages of kv: 8 steps)"
