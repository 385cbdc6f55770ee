"""Webhooks, and the messages that are still to be sent to them. Both survive whoever sends."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, cast

import redis
from pydantic import BaseModel

from minirec.api_schemas import DEFAULT_TENANT
from minirec.api_schemas.webhooks import CreatedWebhook, Delivery, Ending, Webhook
from minirec.store.errors import NotFoundError
from minirec.store.ids import new_id

ENDED: Final = "jobs:ended"
"""Where the state machine lists jobs that have ended while there were webhooks: <job>:<status>:<when>."""


class Message(NamedTuple):
    """One job's end that one webhook is to be told of."""

    job: str
    status: str
    ended_at: str
    webhook: str

    def __str__(self) -> str:
        return ":".join(self)


class _Stored(BaseModel):
    tenant: str
    webhook: Webhook
    secret: str
    """Signing needs it, so it cannot be a hash."""


@dataclass(frozen=True)
class WebhookRecords:
    """The webhooks of a tenant, or of all, and what is due."""

    connection: redis.Redis
    prefix: str
    tenant: str | None = None

    def of_tenant(self, tenant: str) -> WebhookRecords:
        """Return the webhooks of one tenant."""
        return replace(self, tenant=tenant)

    def create(self, *, url: str, statuses: Sequence[Ending]) -> CreatedWebhook:
        """Make a webhook with a secret of its own."""
        record = Webhook(id=new_id("wh"), url=url, statuses=list(statuses), created_at=time.time())
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self._put(_Stored(tenant=self.tenant or DEFAULT_TENANT, webhook=record, secret=secret))
        return CreatedWebhook(**record.model_dump(), secret=secret)

    def all(self) -> list[Webhook]:
        """Return them, newest first."""
        return [stored.webhook for stored in sorted(self._all(), key=lambda one: one.webhook.id, reverse=True)]

    def get(self, webhook_id: str) -> tuple[Webhook, str]:
        """Return a webhook and its secret. Raises NotFoundError."""
        stored = self._get(webhook_id)
        return stored.webhook, stored.secret

    def delete(self, webhook_id: str) -> None:
        """Forget a webhook; what was to be sent to it is dropped. Raises NotFoundError."""
        self._get(webhook_id)
        self.connection.hdel(self._key("webhooks"), webhook_id)

    def record(self, webhook_id: str, delivery: Delivery) -> None:
        """Keep how the last attempt went."""
        stored = self._get(webhook_id)
        stored.webhook.last_delivery = delivery
        self._put(stored)

    def spread(self) -> int:
        """Turn jobs that have ended into messages that are due; return how many jobs those were."""
        ended = cast("list[bytes]", self.connection.zrange(self._key(ENDED), 0, 999))
        hooks = self._all() if ended else []
        for raw in ended:
            job, status, ended_at = raw.decode().split(":")
            told = cast("bytes | None", self.connection.hget(self._key(f"job:{job}"), "tenant"))
            tenant = DEFAULT_TENANT if told is None else told.decode()
            due = {
                str(Message(job, status, ended_at, hook.webhook.id)): float(ended_at)
                for hook in hooks
                if hook.tenant == tenant and status in hook.webhook.statuses
            }
            with self.connection.pipeline() as pipe:
                if due:
                    pipe.zadd(self._key("webhooks:due"), due)
                pipe.zrem(self._key(ENDED), raw)
                pipe.execute()
        return len(ended)

    def due(self, limit: int) -> list[Message]:
        """Return messages whose time has come."""
        found = self.connection.zrangebyscore(self._key("webhooks:due"), "-inf", time.time(), start=0, num=limit)
        return [Message(*raw.decode().split(":")) for raw in cast("list[bytes]", found)]

    def postpone(self, message: Message, pauses: Sequence[float]) -> bool:
        """Try a message again after the pause of its attempt; False, and it is dropped, where there is none left."""
        failed = self.connection.hincrby(self._key("webhooks:failed"), str(message), 1)
        if failed > len(pauses):
            self.done(message)
            return False
        self.connection.zadd(self._key("webhooks:due"), {str(message): time.time() + pauses[failed - 1]})
        return True

    def done(self, message: Message) -> None:
        """Forget a message."""
        with self.connection.pipeline() as pipe:
            pipe.zrem(self._key("webhooks:due"), str(message))
            pipe.hdel(self._key("webhooks:failed"), str(message))
            pipe.execute()

    def _key(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def _all(self) -> list[_Stored]:
        raw = cast("list[bytes]", self.connection.hvals(self._key("webhooks")))
        stored = [_Stored.model_validate_json(one) for one in raw]
        return [one for one in stored if self.tenant in (None, one.tenant)]

    def _get(self, webhook_id: str) -> _Stored:
        raw = cast("bytes | None", self.connection.hget(self._key("webhooks"), webhook_id))
        stored = None if raw is None else _Stored.model_validate_json(raw)
        if stored is None or self.tenant not in (None, stored.tenant):
            raise NotFoundError(f"no webhook {webhook_id}")
        return stored

    def _put(self, stored: _Stored) -> None:
        self.connection.hset(self._key("webhooks"), stored.webhook.id, stored.model_dump_json())
