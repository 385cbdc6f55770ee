"""A span around every request, in the trace that the client names by `traceparent`, or in one of its own."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minirec import tracing

UNTRACED = ("/health/", "/metrics")
"""Asked again and again, by nobody who wants to know how it went."""


class Traces:
    """Makes a span of each request while traces are on; outermost, so that all logs are within it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        tracing.start("minirec-api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self.app(scope, receive, send)
            finally:
                # uvicorn ends by a signal, and nothing runs after it.
                tracing.stop()
            return
        if scope["type"] != "http" or not tracing.is_on() or scope["path"].startswith(UNTRACED):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("traceparent")
        method = scope["method"]
        about = {"http.request.method": method, "url.path": scope["path"]}
        with tracing.span(method, "server", parents=[given] if given else [], attributes=about) as span:
            assert span is not None

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        tracing.fail(span, str(message["status"]))
                await send(message)

            try:
                await self.app(scope, receive, send_and_note)
            finally:
                if (route := getattr(scope.get("route"), "path", None)) is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                if request_id := scope.get("state", {}).get("request_id"):
                    span.set_attribute("minirec.request_id", request_id)
