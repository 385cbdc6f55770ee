"""Addresses of inference servers: how one is written, and whether the operator allows it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}


def engine_allowed(url: str, allowed: Iterable[str]) -> bool:
    """Return whether an address lies at or below one of the allowed ones.

    Scheme, host and port must be equal, and the path must be the same or go on after a slash. An address that is not
    plain (see `_parts`) is not allowed.
    """
    try:
        wanted, prefixes = _parts(url), [_parts(entry) for entry in allowed]
    except ValueError:
        return False
    return any(wanted[:3] == prefix[:3] and (wanted[3] + "/").startswith(prefix[3] + "/") for prefix in prefixes)


def checked_engine_url(url: str) -> str:
    """Return the address of an inference server as it is given. Raises ValueError for one that is not plain."""
    _parts(url)
    return url


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path without a slash at its end. Raises ValueError where two readers could differ."""
    parts = urlsplit(url)
    plain = url.isascii() and url.isprintable() and not set(url) & set(" \\%@?#")
    if parts.scheme not in PORTS or not parts.hostname or not plain:
        raise ValueError(f"{url!r} is no plain address such as http://engine:8000: no user, query, fragment or escapes")
    if any(part in (".", "..", "") for part in parts.path.rstrip("/").split("/")[1:]):
        raise ValueError(f"{url!r} has a path with '.', '..' or '//' in it")
    return parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], parts.path.rstrip("/")
