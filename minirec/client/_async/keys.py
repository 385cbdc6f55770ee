"""`client.keys`: who may use the service, for which tenant, and how far."""

from __future__ import annotations

from collections.abc import AsyncIterator

from minirec.api_schemas import ApiKey, CreatedApiKey, Page
from minirec.api_schemas.keys import Scope
from minirec.client._async.resource import AsyncResource
from minirec.client.core import Call


class AsyncKeys(AsyncResource):
    """Make, list and revoke API keys; needs a key with the scope `admin`."""

    async def create(
        self, *, name: str, scope: Scope = "write", tenant: str | None = None, expires_in_days: float | None = None
    ) -> CreatedApiKey:
        """Make a key; its `key` is shown now and never again.

        It may do what `scope` says with the data of `tenant`, the caller's own unless given. Raises
        `PermissionDeniedError` where the caller may not make it.
        """
        body = {"name": name, "scope": scope, "tenant": tenant, "expires_in_days": expires_in_days}
        given = {field: value for field, value in body.items() if value is not None}
        call = Call("POST", "/v1/keys", json=given)
        return await self._transport.get(call, CreatedApiKey)

    async def list(self) -> AsyncIterator[ApiKey]:
        """Yield the keys that the caller may manage, newest first, revoked and expired ones included."""
        page = await self._transport.get(Call("GET", "/v1/keys"), Page[ApiKey])
        for row in page.data:
            yield row

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key, at once and for good; raises `NotFoundError` for one that the caller may not manage."""
        return await self._transport.get(Call("DELETE", f"/v1/keys/{key_id}"), ApiKey)
