"""Tells webhooks that jobs have ended: signed, and again until they have heard it (Standard Webhooks)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from redis.exceptions import RedisError

from minirec import __version__
from minirec.api_schemas.webhooks import Delivery, JobEnded
from minirec.service.outbound import RefusedAddress, post
from minirec.settings import Settings
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.webhooks import Message

log = structlog.get_logger(__name__)

PAUSES = (5.0, 30.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0, 86400.0)
"""Seconds before each further attempt: about two days in all."""
AT_ONCE = 8
LOOK_SECONDS = 1.0


class Deliverer:
    """Sends what is due, as long as its janitor leads."""

    def __init__(self, store: Store, config: Settings) -> None:
        self._store = store
        self._allow_private = config.webhook_private_addresses

    def run(self, stop: threading.Event, leads: threading.Event) -> None:
        """Send until asked to stop, while `leads` is set."""
        while not stop.wait(LOOK_SECONDS):
            if leads.is_set():
                try:
                    self.deliver()
                except (RedisError, OSError) as error:
                    log.warning("deliveries_failed", error=str(error))
                except Exception:
                    log.exception("deliveries_failed")

    def deliver(self) -> int:
        """Send all that is due now; return how many messages that were."""
        self._store.webhooks.spread()
        due = self._store.webhooks.due(AT_ONCE * 8)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhooks") as pool:
            list(pool.map(self._send, due))
        return len(due)

    def _send(self, message: Message) -> None:
        hooks = self._store.webhooks
        try:
            webhook, secret = hooks.get(message.webhook)
            record = self._store.jobs.get(message.job)
        except NotFoundError:
            hooks.done(message)  # Deleted meanwhile.
            return
        body = _body(message, record.kind, record.fields.get("dataset_id", ""))
        delivery = Delivery(at=time.time())
        try:
            delivery.status = post(
                webhook.url, body, signed(_id(message), secret, body), allow_private=self._allow_private
            )
        except (RefusedAddress, OSError, http.client.HTTPException) as error:
            delivery.error = str(error) or type(error).__name__
        heard = delivery.status is not None and 200 <= delivery.status < 300
        if heard:
            hooks.done(message)
        elif not hooks.postpone(message, PAUSES):
            log.warning("webhook_given_up", webhook=webhook.id, job=message.job, status=delivery.status)
        with suppress(NotFoundError):
            hooks.record(webhook.id, delivery)
        log.info("webhook_sent", webhook=webhook.id, job=message.job, status=delivery.status, error=delivery.error)


def signed(message_id: str, secret: str, body: bytes) -> dict[str, str]:
    """Return the headers of a message, its signature by Standard Webhooks among them."""
    stamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "User-Agent": f"minirec/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _id(message: Message) -> str:
    """Return the same id for every attempt: who hears a message twice can tell."""
    return f"msg_{hashlib.sha256(str(message).encode()).hexdigest()[:32]}"


def _body(message: Message, kind: str, dataset_id: str) -> bytes:
    ended = datetime.fromtimestamp(float(message.ended_at), UTC).isoformat()
    about = message.job
    if kind == "ingest":  # A job that people know as the dataset that it makes.
        kind, about = "dataset", dataset_id
    data = {"id": about, "object": kind, "status": message.status, "dataset_id": dataset_id}
    return JobEnded(type=f"{kind}.{message.status}", timestamp=ended, data=data).model_dump_json().encode()
