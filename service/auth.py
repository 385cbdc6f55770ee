"""Who sends a request, and what they may do: `Authorization: Bearer KEY`."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from minirec.api_schemas import DEFAULT_TENANT
from minirec.api_schemas.keys import SCOPES, ApiKey, Scope
from minirec.service import sessions
from minirec.service.hosts import SAFE_METHODS
from minirec.service.problems import ProblemError
from minirec.settings import Settings
from minirec.store import Store
from minirec.store.errors import NotFoundError

_bearer = HTTPBearer(auto_error=False, description="A key of `POST /v1/keys`, or one of the service's MINIREC_API_KEYS")


@dataclass(frozen=True)
class Caller:
    """Whose request it is."""

    tenant: str
    scope: Scope
    key_id: str | None = None
    """Null for the keys in the settings, and where there are none."""

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has a scope, or more."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


OPERATOR = Caller(DEFAULT_TENANT, "admin")


def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Caller:
    """Return who sends a request. Raises ProblemError 401.

    The keys in the settings are the operator's. Without any, and as long as no key was made, everybody is the operator
    (and comes from this machine, see service/hosts.py).
    """
    settings, store = cast(Settings, request.app.state.settings), cast(Store, request.app.state.store)
    token = sessions.token_of(request)
    if credentials is None and token is not None and needs_key(settings, store):
        caller = _of_session(settings, store, request, token)
        request.state.session = True  # For the page, which then offers to sign out.
    else:
        caller = _caller(settings, store, credentials)
    request.state.caller = caller  # For the log.
    return caller


def needs_key(settings: Settings, store: Store) -> bool:
    """Return whether requests need a key."""
    return bool(settings.api_keys) or store.keys.any()


def _caller(settings: Settings, store: Store, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    if not needs_key(settings, store):
        return OPERATOR
    if credentials is None:
        raise _unauthorized("this service wants a key: send the header `Authorization: Bearer KEY`")
    return caller_of_key(settings, store, credentials.credentials)


def caller_of_key(settings: Settings, store: Store, given: str) -> Caller:
    """Return whose key it is. Raises ProblemError 401."""
    # Every key is compared, so that the time tells nothing.
    if sum(hmac.compare_digest(given.encode(), key.encode()) for key in settings.api_keys):
        return OPERATOR
    found = store.keys.find(given)
    if found is None:
        raise _unauthorized("the key is not one of this service's")
    return _valid(found)


def _of_session(settings: Settings, store: Store, request: Request, token: str) -> Caller:
    """Return whose session a browser has. Raises ProblemError 401, or 403 for a change that no page of ours asked for.

    A browser sends its cookie with whatever request a page makes, so one that changes something has to say that it
    comes from a page of this service. What says that it comes from another one was refused before (service/hosts.py).
    """
    headers = request.headers
    own_page = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"
    if request.method not in SAFE_METHODS and not own_page:
        raise ProblemError(
            403, "foreign_origin", "with a session, only pages of this service may change things; send a key instead"
        )
    found = sessions.stands_for(store, settings, token)
    if found is None:
        raise _unauthorized("the session has ended: sign in again, or send the header `Authorization: Bearer KEY`")
    is_operator, key_id = found
    if is_operator:
        return OPERATOR
    try:
        return _valid(store.keys.get(str(key_id)))
    except NotFoundError as error:
        raise _unauthorized("the session's key is no longer there") from error


def _valid(found: ApiKey) -> Caller:
    """Return whose key it is. Raises ProblemError 401 for one that has ended."""
    if found.revoked_at is not None:
        raise _unauthorized(f"the key {found.id} was revoked")
    if found.expires_at is not None and found.expires_at <= time.time():
        raise _unauthorized(f"the key {found.id} has expired; ask for a new one")
    return Caller(found.tenant, found.scope, found.id)


CallerOf = Annotated[Caller, Depends(authenticate)]


async def require_scope(request: Request, caller: CallerOf) -> None:
    """Let a request through whose key has the scope that its method needs. Raises ProblemError 403."""
    _require(caller, "read" if request.method in SAFE_METHODS else "write")


async def require_admin(caller: CallerOf) -> None:
    """Let a request through whose key may manage keys. Raises ProblemError 403."""
    _require(caller, "admin")


async def require_operator(caller: CallerOf) -> None:
    """Let a request of the operator's tenant through. Raises ProblemError 403."""
    if caller.tenant != DEFAULT_TENANT:
        raise _forbidden("only keys of the operator may see this")


def _require(caller: Caller, scope: Scope) -> None:
    if not caller.may(scope):
        raise _forbidden(f"the key {caller.key_id} has the scope {caller.scope!r}; this needs {scope!r}")


def _forbidden(detail: str) -> ProblemError:
    challenge = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    return ProblemError(403, "insufficient_scope", detail, headers=challenge)


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
