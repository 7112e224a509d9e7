"""A real LLM engine, small enough to read in an evening, whose KV memory is paged, visible and provably correct.

Names are imported when they are first used: `import pagedlab` is quick and brings no torch, and everything about
memory and scheduling can be used without it.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pagedlab.engine.async_engine import AsyncEngine as AsyncEngine
    from pagedlab.engine.engine import Engine as Engine
    from pagedlab.engine.llm import LLM as LLM
    from pagedlab.engine.outputs import RequestOutput as RequestOutput
    from pagedlab.memory.contiguous import ContiguousAllocator as ContiguousAllocator
    from pagedlab.memory.events import Trace as Trace
    from pagedlab.memory.manager import CacheManager as CacheManager
    from pagedlab.memory.pool import PagePool as PagePool
    from pagedlab.memory.prefix_hash import HashPrefixCache as HashPrefixCache
    from pagedlab.memory.prefix_radix import RadixPrefixCache as RadixPrefixCache
    from pagedlab.memory.table import PageTable as PageTable
    from pagedlab.models.catalog import load_model as load_model
    from pagedlab.scheduling.sampling import SamplingParams as SamplingParams

__version__ = "0.1.0"

# torch's threads spin while they wait for each other. Where anything else wants a core too (a browser with a notebook
# will do), that made the demo five times slower; where nothing does, it gains next to nothing. Read once, by the import
# of torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "AsyncEngine": "pagedlab.engine.async_engine",
    "CacheManager": "pagedlab.memory.manager",
    "ContiguousAllocator": "pagedlab.memory.contiguous",
    "Engine": "pagedlab.engine.engine",
    "HashPrefixCache": "pagedlab.memory.prefix_hash",
    "LLM": "pagedlab.engine.llm",
    "PagePool": "pagedlab.memory.pool",
    "PageTable": "pagedlab.memory.table",
    "RadixPrefixCache": "pagedlab.memory.prefix_radix",
    "RequestOutput": "pagedlab.engine.outputs",
    "SamplingParams": "pagedlab.scheduling.sampling",
    "Trace": "pagedlab.memory.events",
    "load_model": "pagedlab.models.catalog",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pagedlab' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
