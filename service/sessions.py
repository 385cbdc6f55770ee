"""Sessions of browsers: a cookie that stands for a key, so that pages can be opened by their address.

The cookie holds a random token, and Redis what it stands for: never the key itself, for cookies are sent to whatever
listens on another port of the same host. A session ends with its key, when somebody signs out, and after twelve hours.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import cast

from starlette.requests import Request

from minirec.settings import Settings
from minirec.store import Store

SECONDS = 12 * 3600


def cookie_name(request: Request) -> str:
    """Return the cookie of this service: browsers share cookies between the ports of a host, so it has its own."""
    return f"minirec-{request.url.port or 'web'}"


def token_of(request: Request) -> str | None:
    """Return the session that a browser says it has."""
    return request.cookies.get(cookie_name(request)) or None


def open_session(store: Store, *, operator_key: str | None = None, key_id: str | None = None) -> str:
    """Begin a session for one of the settings' keys, or for a key that was made; return its token."""
    token = secrets.token_urlsafe(32)
    stands_for = {"operator": None if operator_key is None else _digest(operator_key), "key_id": key_id}
    store.redis.set(_name(store, token), json.dumps(stands_for), ex=SECONDS)
    return token


def close_session(store: Store, token: str) -> None:
    """End a session; one that is not there is fine."""
    store.redis.delete(_name(store, token))


def stands_for(store: Store, settings: Settings, token: str) -> tuple[bool, str | None] | None:
    """Return whether a session is the operator's, and else the id of its key; None where it has ended."""
    stored = cast("bytes | None", store.redis.get(_name(store, token)))
    if stored is None:
        return None
    found = json.loads(stored)
    if found["operator"] is None:
        return False, found["key_id"]
    # A key that was taken out of the settings ends its sessions.
    known = sum(hmac.compare_digest(found["operator"], _digest(key)) for key in settings.api_keys)
    return (True, None) if known else None


def _name(store: Store, token: str) -> str:
    return f"{store.prefix}session:{_digest(token)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
