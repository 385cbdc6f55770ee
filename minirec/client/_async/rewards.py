"""`client.rewards`: what an answer to a prompt may earn."""

from __future__ import annotations

from collections.abc import AsyncIterator

from minirec.api_schemas import Page, Reward
from minirec.client._async.resource import AsyncResource
from minirec.client.core import Call


class AsyncRewards(AsyncResource):
    """List the rewards of text that requests may name."""

    async def list(self) -> AsyncIterator[Reward]:
        """Yield the rewards that the service knows: those built in first, then those of packages installed there."""
        page = await self._transport.get(Call("GET", "/v1/rewards"), Page[Reward])
        for row in page.data:
            yield row
