"""Builds paged_attention.c at first use, with the compiler this machine has, and keeps the result in the user's cache.

The library's name is a hash of its sources, its compiler flags and the processor, so a new release or another machine
builds its own. It is written beside its final name and renamed: two programs that build at once do no harm.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

_SOURCE = Path(__file__).with_name("paged_attention.c")
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-std=gnu11", "-fPIC", "-shared")


class Attention(ctypes.Structure):
    """The C struct of the same name: pointers into tensors, and their sizes."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "out", "numbers", "scales", "zeros")),
        *((name, ctypes.c_int64) for name in ("stride", "format")),
        *((name, ctypes.c_void_p) for name in ("tables", "query_start", "context_lens")),
        *((name, ctypes.c_int64) for name in ("table_stride", "max_pages", "num_tokens", "num_sequences")),
        *((name, ctypes.c_int64) for name in ("num_heads", "num_kv_heads", "head_dim", "page_size", "num_pages")),
        ("window", ctypes.c_int64),
        ("scale", ctypes.c_float),
    )


def native_library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where it cannot be built (``why_not_native`` says why)."""
    return _load()[0]


def why_not_native() -> str | None:
    """Why decode falls back to gathering, or None if the native kernel runs."""
    return _load()[1]


@cache
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    if os.environ.get("PAGEDLAB_NATIVE") == "0":
        return None, "switched off by PAGEDLAB_NATIVE=0; attention gathers pages instead"
    compiler = find_compiler()
    if compiler is None:
        return None, "no C compiler found (gcc or clang); attention gathers pages instead, more slowly"
    import torch  # noqa: F401  (before the library: both then share one pool of OpenMP threads)

    try:
        library = ctypes.CDLL(str(build(compiler)))
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return None, f"{compiler} could not build it ({last_line}); attention gathers pages instead, more slowly"
    except OSError as error:
        return None, f"it cannot be loaded or kept ({error}); attention gathers pages instead, more slowly"
    library.paged_attention.argtypes = (ctypes.POINTER(Attention), ctypes.c_int)
    library.paged_attention.restype = ctypes.c_int
    return library, None


def find_compiler() -> str | None:
    """The C compiler: $CC if it is set, else the first of cc, gcc and clang."""
    candidates = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def build(compiler: str) -> Path:
    """Compile into the cache, unless it is there. Raises CalledProcessError with the compiler's words in stderr."""
    sources = [_SOURCE, *sorted(_SOURCE.parent.glob("*.h"))]
    texts = [source.read_text(encoding="utf-8") for source in sources]
    key = "\0".join([*texts, compiler, *_FLAGS, platform.machine(), _processor()])
    library = _cache_folder() / f"paged_attention-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            built = Path(folder) / library.name
            command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(built), "-lm"]
            subprocess.run(command, check=True, capture_output=True, text=True)
            built.replace(library)
    return library


def _cache_folder() -> Path:
    chosen = os.environ.get("PAGEDLAB_CACHE")
    return (Path(chosen) if chosen else Path(platformdirs.user_cache_dir("pagedlab"))) / "native"


def _processor() -> str:
    """What -march=native looks at: a cache on a shared disk may serve several machines."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    return "".join(
        sorted(
            {
                line
                for line in cpuinfo.read_text(encoding="utf-8").splitlines()
                if line.startswith(("model name", "flags"))
            }
        )
    )
