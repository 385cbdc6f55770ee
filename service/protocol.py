"""HTTP as uvicorn speaks it, but a request that stays half sent is not waited for: uvicorn itself waits for ever."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HALF_SENT_SECONDS = 10.0
"""How long a request's head may take in all, and the longest pause in its body."""


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose request is late: `uvicorn --http minirec.service.protocol:ImpatientProtocol`.

    The head has `half_sent_seconds` from the connection, or from its first byte on a connection in use; a body has
    that long between two pieces. Neither counts once the request is whole, however long its answer takes.
    """

    half_sent_seconds = HALF_SENT_SECONDS
    _since: float | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_from(self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait_from(self.loop.time())
        elif state is not h11.IDLE:
            self._since = None
        elif self._since is None:
            # The start of a next head. More of it does not renew the time: a byte now and then would hold it open.
            self._wait_from(self.loop.time())

    def _wait_from(self, moment: float) -> None:
        self._since = moment
        if self._timer is None:
            self._timer = self.loop.call_later(self.half_sent_seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._since is None or self.transport.is_closing():
            return
        now = self.loop.time()
        if self.flow.read_paused:
            self._since = now  # It is the service that does not read on.
        left = self._since + self.half_sent_seconds - now
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self.transport.abort()
