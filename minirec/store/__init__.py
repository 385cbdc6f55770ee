"""What the service and the workers remember: Redis for state and scores, fsspec for big blobs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import redis

from minirec.settings import Settings
from minirec.store.blobs import BlobStore
from minirec.store.columns import ColumnStore
from minirec.store.connection import connection as connection_to
from minirec.store.counters import Counters
from minirec.store.devices import DeviceRecord
from minirec.store.doorbell import CeleryRing, celery_app
from minirec.store.events import EventLog
from minirec.store.garbage import CacheKeeper
from minirec.store.jobs import JobReader
from minirec.store.keys import KeyRecords
from minirec.store.machine import Machine, Ring
from minirec.store.records import DatasetRecords, IdempotencyRecords, SignalRecords
from minirec.store.uploads import UploadRecords
from minirec.store.webhooks import WebhookRecords
from minirec.store.workers import WorkerRecords

PREFIX = "minirec:"
WORKER_PATIENCE = 30.0
REQUEST_PATIENCE = 5.0
"""Somebody waits for the answer to a request."""


@dataclass(frozen=True)
class Store:
    """Everything remembered, behind one connection."""

    redis: redis.Redis
    prefix: str
    machine: Machine
    jobs: JobReader
    events: EventLog
    columns: ColumnStore
    datasets: DatasetRecords
    signals: SignalRecords
    devices: DeviceRecord
    idempotency: IdempotencyRecords
    blobs: BlobStore
    keys: KeyRecords
    workers: WorkerRecords
    counters: Counters
    webhooks: WebhookRecords
    uploads: UploadRecords
    tenant: str | None = None
    """Whose datasets, signals and jobs are found here (`minirec.store.tenants`); null: everybody's."""
    adopted: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set once this process has counted what jobs of older releases need (`minirec.store.retention`)."""


def connect(settings: Settings, *, ring: Ring | None = None, patience: float = WORKER_PATIENCE) -> Store:
    """The store that the settings name; doorbells go through Celery unless `ring` is given.

    Redis may take `patience` seconds to answer a command.
    """
    ring = ring or CeleryRing(celery_app(settings), time_limit=settings.unit_time_limit)
    connection = connection_to(settings.redis_url, patience=patience, breaker=patience < WORKER_PATIENCE)
    store = Store(
        redis=connection,
        prefix=PREFIX,
        machine=Machine(connection, prefix=PREFIX, ring=ring),
        jobs=JobReader(connection, prefix=PREFIX),
        events=EventLog(connection, prefix=PREFIX),
        columns=ColumnStore(connection, prefix=PREFIX),
        datasets=DatasetRecords(connection, prefix=PREFIX),
        signals=SignalRecords(connection, prefix=PREFIX),
        devices=DeviceRecord(connection, prefix=PREFIX),
        idempotency=IdempotencyRecords(connection, prefix=PREFIX),
        blobs=BlobStore(settings.blob_url, cache_bytes=settings.blob_cache_bytes),
        keys=KeyRecords(connection, PREFIX),
        workers=WorkerRecords(connection, PREFIX),
        counters=Counters(connection, PREFIX),
        webhooks=WebhookRecords(connection, PREFIX),
        uploads=UploadRecords(connection, PREFIX),
    )
    if store.blobs.cache is not None:
        CacheKeeper(store).start()
    return store
