"""These tests run the Triton kernels: in the interpreter, which must be chosen before Triton is imported, so in a
process of their own that ``tests/kernels/test_triton.py`` starts; or compiled, where there is a GPU. Elsewhere they are
not collected."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

#: Only an interpreted kernel can be traced.
collect_ignore_glob = [] if INTERPRETED else ["test_trace_kernel.py"] if torch.cuda.is_available() else ["test_*.py"]


@pytest.fixture(autouse=True)
def where_the_kernels_run() -> Iterator[None]:
    """Tensors that a test makes are made there."""
    with torch.device("cpu" if INTERPRETED else "cuda"):
        yield
