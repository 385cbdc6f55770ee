"""Around every request: its id, its line in the log, its time in the metrics, and an answer if all else fails."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minirec.service.metrics import HttpMetrics
from minirec.service.problems import internal_error, problem_response

log = structlog.get_logger(__name__)

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")


class RequestLog:
    """Gives each request an id (the client's X-Request-ID where it sent a fit one) and reports how it went."""

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                log.info("client_left", method=scope["method"], path=scope["path"])
            except Exception:
                log.exception("request_failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # Half an answer is out: all that is left is to break the connection.
                await problem_response(Request(scope), internal_error())(scope, receive, send_with_id)
            finally:
                self._report(scope, status, time.perf_counter() - started)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self.metrics.observe(route=route, method=scope["method"], status=status, seconds=seconds)
        level = "debug" if route.startswith("/health") or route == "/metrics" else "info"
        caller = scope["state"].get("caller")
        who = {} if caller is None else {"tenant": caller.tenant, "key": caller.key_id}
        getattr(log, level)(
            "request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4), **who
        )


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
