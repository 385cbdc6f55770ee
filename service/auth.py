"""Bearer keys: `Authorization: Bearer KEY`, where the operator has set any."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.dependencies import SettingsOf
from service.problems import ProblemError

_bearer = HTTPBearer(auto_error=False, description="One of the keys in the service's MINIREC_API_KEYS")


def require_key(
    settings: SettingsOf, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> None:
    """Let a request through only with a key, if any are set. Raises ProblemError 401."""
    if not settings.api_keys:
        return
    given = credentials.credentials.encode() if credentials else b""
    if not any(hmac.compare_digest(given, key.encode()) for key in settings.api_keys):
        raise ProblemError(
            401,
            "unauthorized",
            "this service wants a key: send the header `Authorization: Bearer KEY`"
            if credentials is None
            else "the key is not one of this service's",
            headers={"WWW-Authenticate": "Bearer"},
        )
