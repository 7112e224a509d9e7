"""Models that tests of every floor may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pagedlab.models.catalog import LoadedModel, fetch, load_model

# No test asserts on time, and hypothesis does not either.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct: fetched once, then from the cache."""
    return fetch("smollm2-135m", progress=False)


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> LoadedModel:
    """SmolLM2-135M-Instruct in float32."""
    return load_model("smollm2-135m", progress=False)


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    """A random model over bytes: no download, milliseconds."""
    return load_model("tiny-random")
