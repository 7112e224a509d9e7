"""Make .venv: everything the course and its tests need, with a build of torch that suits this machine.

    python3 tools/install.py        (what `make lab`, `make demo` and `make test` do when it is missing or out of date)

The Python that runs this is the one that .venv gets. It needs nothing but the standard library, and pip's own settings
hold (indexes, proxies, caches). On Linux, PyPI's torch is a CUDA build of several GB. So without an NVIDIA GPU a CPU
build is asked for: where pip looks anyway, and if it is not there, in PyTorch's own index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TORCH = "2.13.0"
TRITON = "3.7.1"  # what torch 2.13's CUDA build requires: one release on machines with a GPU and without
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

ROOT = Path(__file__).resolve().parent.parent


def has_nvidia_gpu() -> bool:
    """A GPU that the driver sees: machines that only have the CUDA toolkit do not count."""
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is not None and subprocess.run([nvidia_smi], capture_output=True, check=False).returncode == 0:
        return True
    devices = Path("/proc/driver/nvidia/gpus")
    return devices.is_dir() and any(devices.iterdir())


def requirements(platform: str, gpu: bool) -> list[str]:
    """What pip is asked for, in one go: with torch pinned, nothing else can bring another build of it."""
    cpu_build = platform == "linux" and not gpu
    wanted = [f"torch=={TORCH}+cpu" if cpu_build else f"torch=={TORCH}", "--editable", f"{ROOT}[course,dev,triton]"]
    return [*wanted, f"triton=={TRITON}"] if platform == "linux" else wanted


def index_arguments(pip: list[str], torch: str) -> list[str]:
    """Where else pip must look to find this build of torch: nowhere, if it finds it already."""
    if "+cpu" not in torch:
        return []
    probe = [*pip, "install", "--dry-run", "--quiet", "--no-deps", torch]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return []
    return ["--extra-index-url", os.environ.get("TORCH_CPU_INDEX") or TORCH_CPU_INDEX]


def install(venv: Path) -> None:
    unfinished = venv.with_name(venv.name + ".unfinished")  # beside it: removing the folder must not remove this first
    if unfinished.exists():
        print(f"{venv} was not finished: it is made again. What pip has downloaded is kept.", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
    unfinished.touch()
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip"]
    wanted = requirements(sys.platform, has_nvidia_gpu())
    print(f"Installing {wanted[0]} and the rest into {venv}: some minutes, once.", flush=True)
    subprocess.run([*pip, "install", *index_arguments(pip, wanted[0]), *wanted], check=True)
    unfinished.unlink()
    (venv / "installed").touch()


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036, nothing has asked for a version yet
        print(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")
        return 1
    try:
        install(ROOT / ".venv")
    except subprocess.CalledProcessError as error:
        print(f"The set-up stopped: see the lines above. Once mended, run make again.\n({error})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
