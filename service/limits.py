"""How big a request may be: bytes are counted while they arrive, whatever the client announced."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import ProblemError, problem_response

JSON_BYTES = 1 << 20
"""Enough for any body but an upload's."""


class BodyLimit:
    """Answers 413 to bodies that are too big, before anything of an announced one is read."""

    def __init__(self, app: ASGIApp, *, upload_paths: re.Pattern[str], upload_bytes: int) -> None:
        self.app = app
        self.upload_paths = upload_paths
        self.upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.upload_bytes if self.upload_paths.fullmatch(scope["path"]) else JSON_BYTES
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


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, "payload_too_large", f"the body is larger than the {limit} bytes that are accepted here")
