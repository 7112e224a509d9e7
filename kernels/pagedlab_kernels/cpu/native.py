"""Builds the C files of this folder at first use, with this machine's compiler; the user's cache keeps the result.

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

_FOLDER = Path(__file__).parent
_FLAGS = ("-O3", "-march=native", "-pthread", "-std=gnu11", "-fPIC", "-shared")


_P, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


class Store(ctypes.Structure):
    """The C struct of the same name: pointers into tensors, and their sizes."""

    _fields_ = (
        *((name, _P) for name in ("numbers", "scales", "zeros")),
        *((name, _I) for name in ("stride", "format")),
    )


class Attention(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, _P) for name in ("q", "out")),
        ("kv", Store),
        *((name, _P) for name in ("tables", "query_start", "context_lens")),
        *((name, _I) for name in ("table_stride", "max_pages", "num_tokens", "num_sequences")),
        *((name, _I) for name in ("num_heads", "num_kv_heads", "head_dim", "page_size", "num_pages")),
        ("window", _I),
        ("scale", _F),
    )


class Placing(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, _P) for name in ("q", "k", "v", "cosine", "sine", "slots", "rotated")),
        ("kv", Store),
        *((name, _I) for name in ("q_stride", "k_stride", "v_stride", "num_tokens", "num_heads", "num_kv_heads")),
        *((name, _I) for name in ("head_dim", "page_size", "num_pages")),
        *((name, _P) for name in ("q_norm", "k_norm")),
        *((name, _F) for name in ("norm_offset", "eps")),
    )


class Matrix(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, _P) for name in ("panels", "scales", "bias")),
        *((name, _I) for name in ("format", "in_features", "out_features")),
    )


class Layer(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, Matrix) for name in ("qkv", "output", "gate_and_up", "down")),
        *(
            (name, _P)
            for name in ("input_norm", "mlp_input_norm", "output_norm", "mlp_output_norm", "q_norm", "k_norm")
        ),
        ("kv", Store),
        *((name, _I) for name in ("window", "local")),
    )


class Decoder(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        ("layers", ctypes.POINTER(Layer)),
        *((name, _I) for name in ("num_layers", "hidden", "width", "num_heads", "num_kv_heads", "head_dim", "gelu")),
        *((name, _F) for name in ("eps", "norm_offset", "scale")),
    )


class Step(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, _P) for name in ("hidden", "out", "scratch")),
        *((name, _P * 2) for name in ("cosine", "sine")),
        *((name, _P) for name in ("slots", "wanted", "tables", "query_start", "context_lens")),
        *((name, _I) for name in ("table_stride", "max_pages", "max_context", "num_tokens", "num_wanted")),
        *((name, _I) for name in ("num_sequences", "page_size", "num_pages")),
    )


_FUNCTIONS = {
    "decoder": (ctypes.POINTER(Decoder), ctypes.POINTER(Step)),
    "gated": (_P, _P, _I, _I, _P, _I, _I),
    "paged_attention": (ctypes.POINTER(Attention),),
    "rms_norm": (_P, _I, _P, _F, _F, _P, _I, _I),
    "rotate_and_write": (ctypes.POINTER(Placing),),
    "panel_product": (ctypes.POINTER(Matrix), _P, _I, _P, _I, ctypes.c_int),
}


def native_library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where it cannot be built (``why_not_native`` says why)."""
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
    try:
        library = ctypes.CDLL(str(build(compiler)))
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return None, f"{compiler} could not build it ({last_line}); attention gathers pages instead, more slowly"
    except OSError as error:
        return None, f"it cannot be loaded or kept ({error}); attention gathers pages instead, more slowly"
    for name, arguments in _FUNCTIONS.items():
        getattr(library, name).argtypes = (*arguments, ctypes.c_int)  # the last is the number of threads, everywhere
    return library, None


def find_compiler() -> str | None:
    """The C compiler: $CC if it is set, else the first of cc, gcc and clang."""
    candidates = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def build(compiler: str) -> Path:
    """Compile into the cache, unless it is there. Raises CalledProcessError with the compiler's words in stderr."""
    sources = sorted(_FOLDER.glob("*.c"))
    texts = [source.read_text(encoding="utf-8") for source in (*sources, *sorted(_FOLDER.glob("*.h")))]
    key = "\0".join([*texts, compiler, *_FLAGS, platform.machine(), _processor()])
    library = _cache_folder() / f"kernels-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            built = Path(folder) / library.name
            command = [compiler, *_FLAGS, *map(str, sources), "-o", str(built), "-lm"]
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
