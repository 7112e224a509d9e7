"""Where there is a compiler, it is the native kernel that is tested, and not quietly what stands in for it."""

from __future__ import annotations

import pytest

from pagedlab_kernels.cpu import native


@pytest.fixture(scope="session", autouse=True)
def _native_kernel_is_what_is_tested() -> None:
    if native.find_compiler() is not None:
        assert native.why_not_native() is None
