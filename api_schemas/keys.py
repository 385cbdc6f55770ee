"""API keys: who may use the service, for whom, and how far."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minirec.api_schemas.common import Request, Response

Scope = Literal["read", "write", "admin"]
"""What a key may do: look; also upload, start, cancel and delete; also manage the keys of its tenant."""
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""From the least to the most; each has what those before it have."""

DEFAULT_TENANT = "default"
"""The operator's tenant, and that of all data where nobody made tenants."""
TENANT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
MAX_DAYS = 3650


class ApiKeyCreate(Request):
    """A request for a key."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
    """What it is for: shown in lists."""
    scope: Scope = "write"
    """`read` looks; `write` also uploads, starts, cancels and deletes; `admin` also manages the keys of its tenant."""
    tenant: Annotated[str, Field(pattern=TENANT_PATTERN)] | None = None
    """Whose data it is for; the caller's own tenant unless given. Only keys of the operator may name another."""
    expires_in_days: Annotated[float, Field(gt=0, le=MAX_DAYS)] | None = None
    """Never, unless given."""


class ApiKey(Response):
    """A key without its secret, which nobody can look up."""

    id: str
    """Identifies the key; `DELETE /v1/keys/{id}` revokes it. It is not the secret."""
    object: Literal["api_key"] = "api_key"
    """Always `api_key`."""
    name: str
    """What the key is for, as given when it was made."""
    scope: Scope
    """What the key may do; each scope includes those before it."""
    tenant: str
    """Whose data the key sees."""
    created_at: float
    """When it was made, in seconds since 1970."""
    expires_at: float | None = None
    """When it stops working, in seconds since 1970; null for never."""
    revoked_at: float | None = None
    """When it was revoked, in seconds since 1970; null while it was not."""


class CreatedApiKey(ApiKey):
    """A new key, the only time that it is shown."""

    key: str
    """Send it as `Authorization: Bearer KEY`."""
