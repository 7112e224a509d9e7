"""A kernel played load by load: the pictures of ``kernel_svg`` under a slider, in the clothes of the page map.

All steps are drawn in Python when the player is made and cross to the browser once. From one step to the next most of
a picture stays as it is, so a picture is sent as the numbers of its lines: some 20 kB for a few hundred steps.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from pagedlab.view import assets
from pagedlab.view.kernel_svg import AXES, KernelFilm

if TYPE_CHECKING:
    from pagedlab_kernels.accesses import KernelTrace


class KernelPlayer(anywidget.AnyWidget):
    """Plays the accesses of every launch in ``trace`` that touches ``tensor``; arguments as of ``kernel_svg``."""

    _esm = assets.read("kernel_player.js")
    _css = assets.style()
    _film = traitlets.Bytes(b"").tag(sync=True)

    def __init__(
        self, trace: KernelTrace, tensor: str = "kv", *, axes: Sequence[str] = AXES, title: str | None = None
    ) -> None:
        self.film = KernelFilm(trace, tensor, axes=axes, title=title)
        super().__init__(_film=packed(self.film))

    def __repr__(self) -> str:
        return f"KernelPlayer({self.film.title}: {len(self.film)} steps)"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The player, and for readers without a kernel the whole picture."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, metadata = shown
        still = self.film.whole()
        data = still.mime_bundle() | data | {"text/plain": repr(self)}
        return data, metadata | {"image/png": {"alt": still.alt}}


def packed(film: KernelFilm) -> bytes:
    """JSON under zlib: the lines of all pictures, each once; for each picture which of them it has, and what it says;
    and the steps at which a program starts. The last picture is the whole."""
    pictures = [*map(film.frame, range(len(film))), film.whole()]
    numbers: dict[str, int] = {}
    told = {
        "pictures": [[numbers.setdefault(line, len(numbers)) for line in str(it).splitlines()] for it in pictures],
        "texts": [picture.alt for picture in pictures],
        "starts": [number for number, step in enumerate(film.steps) if step.key[2] == 0],
        "lines": list(numbers),
    }
    return zlib.compress(json.dumps(told).encode())
