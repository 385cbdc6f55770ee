"""What all parts of the client have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from dataclasses import replace
from typing import Any, Self

from minirec.client._async.pages import AsyncPages
from minirec.client._async.transport import AsyncTransport
from minirec.client.raw import RawResponse


class AsyncResource:
    """A part of the client."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    @property
    def with_raw_response(self) -> AsyncRaw:
        """Return the same methods, which return a `RawResponse`: status, headers and `parsed`."""
        return AsyncRaw(self)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a copy of a job shares its connections

    def _on(self, transport: AsyncTransport) -> Self:
        other = copy(self)
        other._transport = transport
        return other


class AsyncRaw:
    """Methods of a part of the client that return the last answer of the service, too."""

    def __init__(self, resource: AsyncResource) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Callable[..., Awaitable[RawResponse]]:
        answers: deque[Any] = deque(maxlen=1)
        resource = self._resource._on(replace(self._resource._transport, answers=answers))
        method = getattr(resource, name)

        async def call(*args: Any, **options: Any) -> RawResponse:
            result = method(*args, **options)
            if isinstance(result, AsyncPages | AsyncIterator):
                raise TypeError(f"{name} sends nothing before it is iterated over, and has no answer of its own")
            parsed = await result
            return RawResponse(answers[-1], parsed)

        return call
