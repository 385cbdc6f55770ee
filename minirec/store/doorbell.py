"""Ringing doorbells through Celery: by task name, so that no worker code is imported."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from minirec.redis_url import for_broker
from minirec.settings import Settings
from minirec.store.machine import Doorbell

TASK = "minirec.run_unit"
SPARE_SECONDS = 60.0
"""How long a worker may take to end a shard that has used up its time."""
QUEUES = ("cpu", "gpu", "train")

log = logging.getLogger(__name__)


def celery_app(settings: Settings) -> Celery:
    """Return a Celery application that can send; the worker adds its tasks to one like it."""
    url, tls = for_broker(settings.broker_url or settings.redis_url)
    app = Celery("minirec", broker=url)
    app.conf.update(
        broker_use_ssl=tls,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # Early acknowledgement: recovery is the business of leases, not of redelivery (docs/architecture.md).
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=10,
        task_default_queue="cpu",
        broker_transport_options={"visibility_timeout": 3600, "socket_timeout": 30, "socket_keepalive": True},
    )
    return app


class CeleryRing:
    """Rings by sending one small message per unit; a failed ring is logged, and rung again by the janitor."""

    def __init__(self, app: Celery, *, time_limit: float) -> None:
        self._app = app
        # A worker ends a shard that takes longer by itself; this is for one that cannot. Training may take its time.
        limit = time_limit + SPARE_SECONDS
        self._time_limits = {"cpu": limit, "gpu": limit, "train": None}

    def __call__(self, doorbells: Sequence[Doorbell]) -> None:
        try:
            with self._app.producer_or_acquire() as producer:
                for queue, group, unit in doorbells:
                    limit = self._time_limits[queue]
                    self._app.send_task(
                        TASK, args=[group, unit], queue=queue, producer=producer, retry=False, time_limit=limit
                    )
        except (OperationalError, OSError, RedisError) as error:
            log.warning("%d doorbells were not rung, the janitor will: %s", len(doorbells), error)

    def waiting(self) -> dict[str, int]:
        """Return the number of messages in each queue."""
        with self._app.connection_for_read() as connection, connection.channel() as channel:
            return {queue: int(channel._size(queue)) for queue in QUEUES}
