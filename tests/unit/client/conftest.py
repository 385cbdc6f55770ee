"""Tests of the SDK see nothing of the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.client.scripted_service import Script


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIREC_API_KEY", "MINIREC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["sync", "async"])
def both_clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test twice: `Script.client` is the synchronous client, then the asynchronous one."""
    if request.param == "sync":
        yield
        return
    with asyncio.Runner() as runner:
        monkeypatch.setattr(Script, "runner", runner)
        yield
