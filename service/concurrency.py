"""How many requests of one client are answered at the same time, in each process of the service."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import cast

from fastapi import Request

from minirec.service.auth import Caller, CallerOf
from minirec.service.dependencies import SettingsOf
from minirec.service.problems import ProblemError


class InHand:
    """Counts the requests that are being answered, by client. Everything happens in the event loop."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def enter(self, client: str, *, limit: int) -> None:
        """Count a request. Raises ProblemError 429 where its client has as many in hand as it may."""
        if self._counts[client] >= limit:
            raise ProblemError(
                429,
                "too_many_requests",
                f"{limit} requests of this client are being answered already (streams and waiting ones count); "
                "wait until some have ended",
            )
        self._counts[client] += 1

    def leave(self, client: str) -> None:
        """Stop counting a request."""
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]


def client_of(caller: Caller) -> str:
    """Return who counts as one client: a key, or all that come with those of the settings."""
    return caller.key_id or caller.tenant


async def count_requests(request: Request, caller: CallerOf, settings: SettingsOf) -> AsyncIterator[None]:
    """Count a request until its answer is sent, streams included. Raises ProblemError 429."""
    in_hand, client = cast(InHand, request.app.state.in_hand), client_of(caller)
    in_hand.enter(client, limit=settings.max_client_requests)
    try:
        yield
    finally:
        in_hand.leave(client)
