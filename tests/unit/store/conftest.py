"""A store of its own for each test, on the shared server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minirec.settings import Settings
from minirec.store import Store, connect
from minirec.store.machine import Doorbell


@pytest.fixture
def doorbells() -> list[Doorbell]:
    """What the store has rung."""
    return []


@pytest.fixture
def store(redis_url: str, tmp_path: Path, doorbells: list[Doorbell]) -> Iterator[Store]:
    """An empty store."""
    store = connect(Settings(redis_url=redis_url, blob_url=(tmp_path / "blobs").as_uri()), ring=doorbells.extend)
    store.redis.flushall()
    yield store
    store.redis.close()
