"""Liveness, readiness, version."""

from __future__ import annotations

from minirec.api_schemas.common import Response


class Health(Response):
    """Whether the process runs, and (for readiness) whether what it needs answers."""

    status: str
    """`ok`, or `unavailable` where a check failed."""
    checks: dict[str, str] = {}
    """By what was asked (`redis`, `blobs`): `ok`, or what is wrong. Empty for liveness."""


class Version(Response):
    """What runs here."""

    version: str
    """Release of the service."""
    api: str = "v1"
    """Prefix of the paths of this API."""
