"""pagedlab doctor: what works on this machine, and what to do where something does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from pagedlab.errors import PagedLabError

#: Bytes. SmolLM2 in float32 with a pool of 512 pages takes half of it, JupyterLab some of the rest.
ENOUGH_MEMORY = 2 * 2**30

REINSTALL = 'run `make setup`, or `python -m pip install -e ".[course,triton]"` in the environment that you use'


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    detail: str
    mend: str = ""  #: what to do, where not ok


class Fault(PagedLabError):
    """Something does not work. ``mend`` says what to do."""

    def __init__(self, detail: str, mend: str = REINSTALL) -> None:
        self.mend = mend
        super().__init__(detail)


def examine() -> Iterator[Finding]:
    """One finding after the other. A check that breaks is a finding too, so that the others are still made."""
    for name, check in checks():
        try:
            yield Finding(name, True, check())
        except Fault as fault:
            yield Finding(name, False, str(fault), fault.mend)
        except Exception as error:
            yield Finding(name, False, f"{type(error).__name__}: {error}", REINSTALL)


def checks() -> Iterator[tuple[str, Callable[[], str]]]:
    """Each by name. A check returns what it found, or raises Fault."""
    yield "Python", python
    for text in requires("pagedlab") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "course"}):
            yield requirement.name, partial(package, requirement)
    yield "import pagedlab", import_time
    yield "torch device", torch_device
    yield "CPU kernel", cpu_kernel
    yield "Triton", triton
    yield "widgets", widgets
    yield "model", model
    yield "free memory", free_memory


def python() -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def package(requirement: Requirement) -> str:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        raise Fault("not installed") from None
    if not requirement.specifier.contains(found, prereleases=True):
        raise Fault(f"{found}; {requirement.specifier} is needed")
    return found


def import_time() -> str:
    code = "import time; start = time.perf_counter(); import pagedlab; print(time.perf_counter() - start)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return f"{1000 * float(run.stdout):.0f} ms"


def torch_device() -> str:
    import torch

    torch.ones(8, 8) @ torch.ones(8, 8)
    if torch.cuda.is_available():
        (torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")).cpu()
        free, total = torch.cuda.mem_get_info()
        return f"cuda: {torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    build = "a CUDA build that sees no GPU" if torch.version.cuda else "a CPU build"
    return f"cpu: {torch.get_num_threads()} threads ({build})"


def cpu_kernel() -> str:
    from pagedlab_kernels import available_attention

    state = available_attention()["cpu"]
    if state != "ok":
        raise Fault(state, "install a C compiler (gcc or clang); until then everything runs, but slower")
    return "compiled and working"


def triton() -> str:
    if sys.platform != "linux":
        return "not made for this system: the Triton chapter can be read here, not run; all others run"
    try:
        found = version("triton")  # not imported: it would read TRITON_INTERPRET, once and for all
    except PackageNotFoundError:
        raise Fault("not installed", "python -m pip install triton==3.7.1 (3.6.0 beside torch 2.11)") from None
    import torch

    if torch.cuda.is_available():
        return f"{found}, compiles for the GPU"
    return f"{found}, no GPU: interpreted where TRITON_INTERPRET=1 is set"


def widgets() -> str:
    """The two halves of a widget: Python's, and JupyterLab's extension for it."""
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    for extension in ("anywidget", "@jupyter-widgets/jupyterlab-manager"):
        if not any((folder / extension / "package.json").is_file() for folder in folders):
            raise Fault(
                f"JupyterLab's extension {extension} is in none of {', '.join(map(str, folders))}",
                "python -m pip install --force-reinstall anywidget ipywidgets jupyterlab_widgets, where jupyterlab is",
            )
    import pagedlab.view.page_map  # noqa: F401

    return "JupyterLab finds the extensions of anywidget and ipywidgets"


def model() -> str:
    from pagedlab.models.catalog import CATALOG, cache_folder

    entry = CATALOG["smollm2-135m"]
    path = cache_folder() / Path(entry.member).name
    if not path.is_file():
        raise Fault(f"smollm2-135m is not in {path.parent}", "pagedlab fetch")
    if path.stat().st_size != entry.size:
        raise Fault(f"{path} has {path.stat().st_size} bytes of {entry.size}", "pagedlab fetch")
    return f"smollm2-135m, {path}"


def free_memory() -> str:
    import psutil

    free = psutil.virtual_memory().available
    if free < ENOUGH_MEMORY:
        raise Fault(
            f"{free / 2**30:.1f} GiB; {ENOUGH_MEMORY / 2**30:.0f} are good to have",
            "close what you do not need, or ask for fewer pages: LLM(..., num_pages=128)",
        )
    return f"{free / 2**30:.1f} GiB"
