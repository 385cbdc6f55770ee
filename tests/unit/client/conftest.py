"""Tests of the SDK see nothing of the environment."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIREC_API_KEY", "MINIREC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
