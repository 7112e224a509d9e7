"""These tests run the Triton kernels in the interpreter, which must be chosen before Triton is imported: in a process
of their own, started by ``tests/kernels/test_triton.py``. Elsewhere they are not collected."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
