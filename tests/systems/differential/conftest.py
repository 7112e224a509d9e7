"""Each peer is started once, and its tests are skipped with the reason where it is absent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systems.differential.peer import Absent, Peer


def started(name: str) -> Iterator[Peer]:
    try:
        peer = Peer(name)
    except Absent as reason:
        pytest.skip(str(reason))
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def vllm() -> Iterator[Peer]:
    yield from started("vllm")


@pytest.fixture(scope="session")
def lmdeploy() -> Iterator[Peer]:
    yield from started("lmdeploy")


@pytest.fixture(scope="session")
def sglang() -> Iterator[Peer]:
    yield from started("sglang")
