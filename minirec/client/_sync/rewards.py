# Generated from ../_async by scripts/unasync.py. Do not edit.
"""`client.rewards`: what an answer to a prompt may earn."""

from __future__ import annotations

from collections.abc import Iterator

from minirec.api_schemas import Page, Reward
from minirec.client._sync.resource import Resource
from minirec.client.core import Call


class Rewards(Resource):
    """List the rewards of text that requests may name."""

    def list(self) -> Iterator[Reward]:
        """Yield the rewards that the service knows: those built in first, then those of packages installed there."""
        page = self._transport.get(Call("GET", "/v1/rewards"), Page[Reward])
        yield from page.data
