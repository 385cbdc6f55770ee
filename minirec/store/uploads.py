"""Uploads in parts: what is to become of them, and which parts are stored. They outlive connections and processes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import cast

import redis

from minirec.api_schemas import DEFAULT_TENANT
from minirec.api_schemas.uploads import FileName, Upload, UploadCreate, UploadPart
from minirec.store.errors import NotFoundError
from minirec.store.ids import new_id

KEPT_SECONDS = 24 * 3600.0
"""How long an upload is kept after its last part."""


@dataclass(frozen=True)
class UploadRecords:
    """The uploads of a tenant, or of all."""

    connection: redis.Redis
    prefix: str
    tenant: str | None = None

    def of_tenant(self, tenant: str) -> UploadRecords:
        """Return the uploads of one tenant."""
        return replace(self, tenant=tenant)

    def create(self, request: UploadCreate) -> str:
        """Note an upload down, and return its id."""
        upload_id, now = new_id("upl"), time.time()
        about = {"tenant": self.tenant or DEFAULT_TENANT, "created_at": now, "request": request.model_dump_json()}
        with self.connection.pipeline() as pipe:
            pipe.hset(self._key(upload_id), mapping={name: str(value) for name, value in about.items()})
            pipe.zadd(self._expiry, {upload_id: now + KEPT_SECONDS})
            pipe.execute()
        return upload_id

    def get(self, upload_id: str) -> tuple[Upload, UploadCreate]:
        """Return an upload, and what was asked for. Raises NotFoundError."""
        with self.connection.pipeline() as pipe:
            pipe.hgetall(self._key(upload_id))
            pipe.zscore(self._expiry, upload_id)
            raw, expires = cast("tuple[dict[bytes, bytes], float | None]", pipe.execute())
        stored = {name.decode(): value.decode() for name, value in raw.items()}
        if expires is None or self.tenant not in (None, stored.get("tenant")) or "request" not in stored:
            raise NotFoundError(f"no upload {upload_id}")
        request = UploadCreate.model_validate_json(stored["request"])
        files: dict[FileName, list[UploadPart]] = {file: [] for file in request.files}
        for name, value in stored.items():
            kind, _, file = name.partition(":")
            if kind == "part":
                files[cast(FileName, file.partition(":")[0])].append(UploadPart.model_validate_json(value))
        for parts in files.values():
            parts.sort(key=lambda part: part.number)
        upload = Upload(
            id=upload_id,
            created_at=float(stored["created_at"]),
            expires_at=expires,
            files=files,
            dataset_id=stored.get("dataset_id"),
        )
        return upload, request

    def put_part(self, upload_id: str, file: str, part: UploadPart) -> None:
        """Note down that a part is stored. Raises NotFoundError."""
        self.get(upload_id)
        with self.connection.pipeline() as pipe:
            pipe.hset(self._key(upload_id), f"part:{file}:{part.number}", part.model_dump_json())
            pipe.zadd(self._expiry, {upload_id: time.time() + KEPT_SECONDS}, xx=True)
            pipe.execute()

    def complete(self, upload_id: str) -> str:
        """Return the id of the dataset that an upload becomes: the same one whoever asks, however often."""
        self.connection.hsetnx(self._key(upload_id), "dataset_id", new_id("ds"))
        return cast(bytes, self.connection.hget(self._key(upload_id), "dataset_id")).decode()

    def expired(self) -> list[str]:
        """Return the uploads whose time is over."""
        found = cast("list[bytes]", self.connection.zrangebyscore(self._expiry, "-inf", time.time(), start=0, num=100))
        return [upload_id.decode() for upload_id in found]

    def delete(self, upload_id: str) -> None:
        """Forget an upload."""
        with self.connection.pipeline() as pipe:
            pipe.delete(self._key(upload_id))
            pipe.zrem(self._expiry, upload_id)
            pipe.execute()

    @property
    def _expiry(self) -> str:
        return f"{self.prefix}uploads"

    def _key(self, upload_id: str) -> str:
        return f"{self.prefix}upload:{upload_id}"


def folder_of(upload_id: str) -> str:
    """Return what the blobs of an upload lie in."""
    return f"uploads/{upload_id}/"


def part_blob(upload_id: str, file: str, number: int) -> str:
    """Return the blob of a part."""
    return f"{folder_of(upload_id)}{file}/{number}"
