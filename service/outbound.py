"""Requests that the service makes to addresses that clients name: never to its own network unless that is allowed."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

SECONDS = 10.0
READ_BYTES = 4096


class RefusedAddress(ValueError):
    """An address that must not be asked."""


def check_address(url: str, *, allow_private: bool) -> SplitResult:
    """Return an address in its parts. Raises RefusedAddress for one that no request may go to, as far as it shows."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedAddress(str(error)) from error
    if parts.hostname is None or port == 0 or parts.username is not None:
        raise RefusedAddress("give scheme, host and path, without a name or password")
    if allow_private:
        return parts
    if parts.scheme != "https":
        raise RefusedAddress("only https is allowed here")
    try:
        literal = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts
    _require_public(literal)
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> int:
    """Send a POST and return the status of the answer; redirects are not followed.

    The host is looked up once, and what was looked at is what is connected to. Raises RefusedAddress, OSError or
    `http.client.HTTPException`.
    """
    parts = check_address(url, allow_private=allow_private)
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in found]
    if not allow_private:
        for address in addresses:
            _require_public(ipaddress.ip_address(address))
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        plain = socket.create_connection((addresses[0], port), timeout=SECONDS)
        connection.sock = plain
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        answer = connection.getresponse()
        answer.read(READ_BYTES)
        return answer.status
    finally:
        connection.close()


def _require_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    inner = getattr(address, "ipv4_mapped", None) or address
    if not inner.is_global or inner.is_multicast:
        raise RefusedAddress(f"{address} is in a network of our own, which webhooks may not reach here")
