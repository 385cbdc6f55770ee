"""Which requests are answered at all: under a host name of this service, and not on behalf of another web page.

A browser sends whatever a page tells it to, also to services on its own machine. Two checks stop that: the `Host` of a
page that had its name point here (DNS rebinding) is not one of ours, and browsers say in `Sec-Fetch-Site` and `Origin`
which page makes a request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minirec.service.problems import ProblemError, problem_response

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Names of this machine, which may always be used."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
FOREIGN_SITES = ("cross-site", "same-site")
"""Values of `Sec-Fetch-Site` for requests of other pages' making; `none` is a person at the address bar."""
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "worker-src blob:; frame-ancestors 'none'"
)
"""Of the documentation, where people enter their keys: what it loads and sends comes from here and goes here."""


class HostCheck:
    """Refuses requests under foreign host names, of foreign pages, and from other machines where there are no keys.

    Args:
        app: What answers the others.
        allowed: Host names beside those of this machine; empty: any, where there are keys.
        has_keys: Whether the settings name keys. A service without any answers this machine only.
    """

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str], has_keys: bool) -> None:
        self.app = app
        named = {name.strip("[]").lower() for name in allowed}
        self.allowed = {*LOOPBACK_HOSTS, *named}
        self.any_host = has_keys and not named
        self.has_keys = has_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                html = headers.get("content-type", "").startswith("text/html")
                # Our own pages set stricter or other ones (service/page/templating.py).
                headers.setdefault("Content-Security-Policy", PAGE_POLICY if html else DATA_POLICY)
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers["X-Content-Type-Options"] = "nosniff"
                # Pages of other ports of this host are sent the cookie of a session; they get nothing to embed.
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self.app(scope, receive, send_with_headers)
        else:
            await problem_response(Request(scope), refused)(scope, receive, send_with_headers)

    def _refused(self, scope: Scope) -> ProblemError | None:
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            # Proxies and servers disagree on where such a body ends, and on whose request begins there.
            detail = "the body has a Content-Length and a Transfer-Encoding; send one of them"
            return ProblemError(400, "bad_request", detail, headers={"Connection": "close"})
        if not self.has_keys and not _on_loopback(scope):
            return ProblemError(
                403,
                "no_keys",
                "this service has no keys, and so answers its own machine only; set MINIREC_API_KEYS to let others in",
            )
        given = headers.getlist("host")
        host = host_name(given[0]) if len(given) == 1 else None
        if not self.any_host and host not in self.allowed:
            return ProblemError(
                403,
                "host_not_allowed",
                f"the host {' and '.join(given)!r} is not one of this service's; MINIREC_ALLOWED_HOSTS lists them",
            )
        if scope["method"] in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is None:
            foreign = headers.get("sec-fetch-site") in FOREIGN_SITES
        else:
            foreign = not self._is_own(origin, given[0] if given else "", scope["scheme"])
        if foreign:
            where = origin or "another site"
            detail = f"a web page of {where!r} sent this; only pages of this service may change things"
            return ProblemError(403, "foreign_origin", detail)
        return None

    def _is_own(self, origin: str, host: str, scheme: str) -> bool:
        try:
            page, own = urlsplit(origin), urlsplit(f"{scheme}://{host}")
            if page.scheme not in ("http", "https") or page.hostname is None:
                return False
            if page.hostname in self.allowed.difference(LOOPBACK_HOSTS):
                return True  # Behind a proxy, the host may be another than the page's.
            # A proxy with TLS speaks http to the service: the default ports of both are one.
            return (page.hostname, _unusual(page.port)) == (own.hostname, _unusual(own.port))
        except ValueError:
            return False


def _unusual(port: int | None) -> int | None:
    return None if port in (80, 443) else port


def host_name(header: str) -> str | None:
    """Return the name in a `Host` header, without the port and in lower case; null where it is not one."""
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018  # raises ValueError where it is no number
    except ValueError:
        return None
    plain = parts.username is None and not parts.path and not parts.query and not parts.fragment
    return (parts.hostname or "").rstrip(".") or None if plain else None


def _on_loopback(scope: Scope) -> bool:
    """Return whether a request came to an address that only this machine reaches, or through a Unix socket."""
    server = scope.get("server")
    if server is None or server[1] is None:
        return True
    try:
        return ipaddress.ip_address(server[0].partition("%")[0]).is_loopback
    except ValueError:
        return False
