# Generated from ../_async by scripts/unasync.py. Do not edit.
"""What all parts of the client have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, Self

from minirec.client._sync.pages import Pages
from minirec.client._sync.transport import Transport
from minirec.client.raw import RawResponse


class Resource:
    """A part of the client."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def with_raw_response(self) -> Raw:
        """Return the same methods, which return a `RawResponse`: status, headers and `parsed`."""
        return Raw(self)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a copy of a job shares its connections

    def _on(self, transport: Transport) -> Self:
        other = copy(self)
        other._transport = transport
        return other


class Raw:
    """Methods of a part of the client that return the last answer of the service, too."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Callable[..., RawResponse]:
        answers: deque[Any] = deque(maxlen=1)
        resource = self._resource._on(replace(self._resource._transport, answers=answers))
        method = getattr(resource, name)

        def call(*args: Any, **options: Any) -> RawResponse:
            result = method(*args, **options)
            if isinstance(result, Pages | Iterator):
                raise TypeError(f"{name} sends nothing before it is iterated over, and has no answer of its own")
            parsed = result
            return RawResponse(answers[-1], parsed)

        return call
