# Generated from ../_async by scripts/unasync.py. Do not edit.
"""`client.keys`: who may use the service, for which tenant, and how far."""

from __future__ import annotations

from collections.abc import Iterator

from minirec.api_schemas import ApiKey, CreatedApiKey, Page
from minirec.api_schemas.keys import Scope
from minirec.client._sync.resource import Resource
from minirec.client.core import Call


class Keys(Resource):
    """Make, list and revoke API keys; needs a key with the scope `admin`."""

    def create(
        self, *, name: str, scope: Scope = "write", tenant: str | None = None, expires_in_days: float | None = None
    ) -> CreatedApiKey:
        """Make a key; its `key` is shown now and never again.

        It may do what `scope` says with the data of `tenant`, the caller's own unless given. Raises
        `PermissionDeniedError` where the caller may not make it.
        """
        body = {"name": name, "scope": scope, "tenant": tenant, "expires_in_days": expires_in_days}
        given = {field: value for field, value in body.items() if value is not None}
        call = Call("POST", "/v1/keys", json=given)
        return self._transport.get(call, CreatedApiKey)

    def list(self) -> Iterator[ApiKey]:
        """Yield the keys that the caller may manage, newest first, revoked and expired ones included."""
        page = self._transport.get(Call("GET", "/v1/keys"), Page[ApiKey])
        yield from page.data

    def revoke(self, key_id: str) -> ApiKey:
        """End a key, at once and for good; raises `NotFoundError` for one that the caller may not manage."""
        return self._transport.get(Call("DELETE", f"/v1/keys/{key_id}"), ApiKey)
