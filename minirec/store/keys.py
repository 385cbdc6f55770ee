"""API keys: made from chance, stored as hashes, looked up by the id that is part of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import cast

import redis
from pydantic import BaseModel

from minirec.api_schemas import ApiKey, CreatedApiKey
from minirec.api_schemas.keys import Scope
from minirec.store.errors import NotFoundError
from minirec.store.ids import new_id

DAY = 24 * 3600.0


class _Stored(BaseModel):
    key: ApiKey
    sha256: str
    """Of the whole key. It is 256 bits of chance: there is nothing to guess, so a slow hash would add nothing."""


@dataclass(frozen=True)
class KeyRecords:
    """All keys that were made, revoked and expired ones included."""

    connection: redis.Redis
    prefix: str

    @property
    def _hash(self) -> str:
        return f"{self.prefix}keys"

    def create(self, *, name: str, scope: Scope, tenant: str, days: float | None = None) -> CreatedApiKey:
        """Make a key; what is returned is the only place where it can be read."""
        now = time.time()
        record = ApiKey(
            id=new_id("key"),
            name=name,
            scope=scope,
            tenant=tenant,
            created_at=now,
            expires_at=None if days is None else now + days * DAY,
        )
        key = f"{record.id}.{secrets.token_urlsafe(32)}"
        self._put(_Stored(key=record, sha256=_sha256(key)))
        return CreatedApiKey(**record.model_dump(), key=key)

    def find(self, key: str) -> ApiKey | None:
        """Return the record of a key, expired or revoked as it may be; null for what is no key."""
        key_id, dot, _ = key.partition(".")
        stored = self._get(key_id) if dot else None
        known = "" if stored is None else stored.sha256
        return stored.key if hmac.compare_digest(known, _sha256(key)) and stored is not None else None

    def any(self) -> bool:
        """Return whether a key was ever made."""
        return bool(self.connection.exists(self._hash))

    def list(self, tenant: str | None = None) -> list[ApiKey]:
        """Return the keys of a tenant, or of all, newest first."""
        stored = cast("list[bytes]", self.connection.hvals(self._hash))
        keys = [_Stored.model_validate_json(raw).key for raw in stored]
        return sorted((key for key in keys if tenant in (None, key.tenant)), key=lambda key: key.id, reverse=True)

    def get(self, key_id: str) -> ApiKey:
        """Return the record of a key by its id. Raises NotFoundError."""
        stored = self._get(key_id)
        if stored is None:
            raise NotFoundError(f"no key {key_id}")
        return stored.key

    def revoke(self, key_id: str) -> ApiKey:
        """End a key for good; one that was revoked before stays as it is. Raises NotFoundError."""
        stored = self._get(key_id)
        if stored is None:
            raise NotFoundError(f"no key {key_id}")
        if stored.key.revoked_at is None:
            stored.key.revoked_at = time.time()
            self._put(stored)
        return stored.key

    def _get(self, key_id: str) -> _Stored | None:
        raw = cast("bytes | None", self.connection.hget(self._hash, key_id))
        return None if raw is None else _Stored.model_validate_json(raw)

    def _put(self, stored: _Stored) -> None:
        self.connection.hset(self._hash, stored.key.id, stored.model_dump_json())


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
