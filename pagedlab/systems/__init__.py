"""Five serving systems as presets: ``LLM("smollm2-135m", system="sglang")``, or with options, ``system=SGLang(…)``."""

from __future__ import annotations

from collections.abc import Mapping

from pagedlab.systems.lmdeploy import LMDeploy
from pagedlab.systems.sglang import SGLang
from pagedlab.systems.system import System, meaning
from pagedlab.systems.tensorrt_llm import TensorRTLLM
from pagedlab.systems.tgi import TGI
from pagedlab.systems.vllm import VLLM

__all__ = ["SYSTEMS", "TGI", "VLLM", "LMDeploy", "SGLang", "System", "TensorRTLLM", "preset"]

SYSTEMS: Mapping[str, type[System]] = {
    "vllm": VLLM,
    "tensorrt_llm": TensorRTLLM,
    "sglang": SGLang,
    "lmdeploy": LMDeploy,
    "tgi": TGI,
}


def preset(system: str | System) -> System:
    """The system of that name with its defaults; one with options of its own is returned as it is.

    Raises InvalidConfig where there is none of that name.
    """
    return meaning("system", system, SYSTEMS)() if isinstance(system, str) else system
