"""Attention over pages: the reference, the CPU path and the Triton kernels. Each file is a lecture of its own."""

from __future__ import annotations

import importlib.util
import os
import sys

from pagedlab.errors import InvalidConfig, KernelUnavailable
from pagedlab_kernels.batch import AttentionFn, PagedBatch

__all__ = ["ATTENTION_NAMES", "AttentionFn", "PagedBatch", "available_attention", "get_attention"]

ATTENTION_NAMES = ("reference", "cpu", "triton")


def get_attention(name: str) -> AttentionFn:
    """The attention path of this name. Raises KernelUnavailable where this machine cannot run it.

    Imports what the path needs, and only then: Triton reads TRITON_INTERPRET when it is imported.
    """
    if name == "reference":
        from pagedlab_kernels.reference import gather_attention

        return gather_attention
    if name == "cpu":
        from pagedlab_kernels.cpu.attention import cpu_attention

        return cpu_attention
    if name == "triton":
        reason = why_not_triton()
        if reason is not None:
            raise KernelUnavailable(f'attention="triton" was asked for: {reason}')
        from pagedlab_kernels.triton_attention import triton_attention

        return triton_attention
    raise InvalidConfig(f"attention {name!r} was asked for; there are {', '.join(ATTENTION_NAMES)}")


def available_attention() -> dict[str, str]:
    """For each path, "ok" or the reason why it cannot run, or runs slowly, here."""
    from pagedlab_kernels.cpu.native import why_not_native

    return {"reference": "ok", "cpu": why_not_native() or "ok", "triton": why_not_triton() or "ok"}


def why_not_triton() -> str | None:
    """Why the Triton kernels cannot run here, and what to change; None if they can. Imports nothing of Triton."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it has wheels for Linux only: pip install triton. There is attention='cpu'"
    import torch

    interpret = os.environ.get("TRITON_INTERPRET") == "1"
    if not torch.cuda.is_available() and not interpret:
        return "there is no GPU; set TRITON_INTERPRET=1 before Python starts to run Triton interpreted (slowly)"
    loaded = sys.modules.get("triton")
    if interpret and loaded is not None and isinstance(loaded.language.cdiv, loaded.JITFunction):
        return "Triton was imported before TRITON_INTERPRET=1 was set; set it before Python starts"
    return None
