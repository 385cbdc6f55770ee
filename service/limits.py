"""How big a request may be: bytes are counted while they arrive, whatever the client announced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minirec.service.problems import ProblemError, problem_response

JSON_BYTES = 1 << 20
"""Enough for any body but an upload's, and a list of many ids."""


class LargeBodies(NamedTuple):
    """A path whose bodies may be larger than `JSON_BYTES`."""

    path: re.Pattern[str]
    max_bytes: int


class BodyLimit:
    """Answers 413 to bodies that are too big, before anything of an announced one is read or done.

    (Starlette's own `max_body_size` lets a route that reads no body do its work, and then answers 413.)
    """

    def __init__(self, app: ASGIApp, *, larger: Sequence[LargeBodies]) -> None:
        self.app = app
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isascii() and announced.isdigit() and (len(announced) > 19 or int(announced) > limit):
            await problem_response(Request(scope), _too_large(limit))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
            return message

        await self.app(scope, counted, send)

    def _limit(self, path: str) -> int:
        return next((rule.max_bytes for rule in self.larger if rule.path.fullmatch(path)), JSON_BYTES)


def uploads(routers: Iterable[APIRouter], *, max_bytes: int) -> list[LargeBodies]:
    """Return the paths of the routes that take files."""
    routes = (route for router in routers for route in router.routes if isinstance(route, APIRoute))
    return [LargeBodies(route.path_regex, max_bytes) for route in routes if _takes_files(route)]


def _takes_files(route: APIRoute) -> bool:
    body = (route.openapi_extra or {}).get("requestBody", {})
    return "multipart/form-data" in body.get("content", {})


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, "payload_too_large", f"the body is larger than the {limit} bytes that are accepted here")
