"""Liveness, readiness, version."""

from __future__ import annotations

from api_schemas.common import Response


class Health(Response):
    """Whether the process runs, and (for readiness) whether what it needs answers."""

    status: str
    checks: dict[str, str] = {}


class Version(Response):
    """What runs here."""

    version: str
    api: str = "v1"
