"""`python -m minirec.service.janitor`: gives back what lost workers held, rings doorbells again, and cleans up.

Several may run: one of them is the leader, and another takes over when it stops.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from minirec.logs import configure_logging
from minirec.service.deliveries import Deliverer
from minirec.service.metrics import Waiting
from minirec.service.resumable import remove
from minirec.service.uploads import remove_stale
from minirec.settings import Settings, settings
from minirec.store import Store, connect
from minirec.store.counters import LEASES_EXPIRED
from minirec.store.doorbell import QUEUES, CeleryRing, celery_app
from minirec.store.garbage import collect_garbage
from minirec.store.retention import adopt_jobs, expire_jobs
from minirec.store.upgrade import rename_kinds

log = structlog.get_logger(__name__)

RING_EMPTY_SECONDS = 10.0
"""A doorbell this old that is not in its queue was lost, or its worker is about to answer."""
RING_BUSY_SECONDS = 600.0
"""While messages wait, an unanswered doorbell is most likely among them."""
EXPIRE_SECONDS = 3600.0
"""How often finished jobs are looked through for those that are older than `retention_days`."""


class Cleaner:
    """Deletes what nobody needs any more. Object stores take their time, so the janitor gives it a thread."""

    def __init__(self, store: Store, config: Settings) -> None:
        self._store = store
        self._settings = config
        self._expire_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Clean up every `janitor_seconds` until asked to stop."""
        while not stop.is_set():
            try:
                self.clean()
            except (RedisError, OSError) as error:
                log.warning("cleaning_failed", error=str(error))
            except Exception:
                log.exception("cleaning_failed")
            stop.wait(self._settings.janitor_seconds)

    def clean(self) -> None:
        """One round: jobs that have expired, then the blobs that nobody keeps."""
        adopt_jobs(self._store)
        if self._settings.retention_days is not None and time.monotonic() >= self._expire_at:
            if expired := expire_jobs(self._store, days=self._settings.retention_days):
                log.info("jobs_expired", jobs=expired)
            self._expire_at = time.monotonic() + EXPIRE_SECONDS
        for upload_id in self._store.uploads.expired():
            remove(self._store, upload_id)
            log.info("upload_expired", upload_id=upload_id)
        if deleted := collect_garbage(self._store):
            log.info("garbage_deleted", names=deleted)


class Janitor:
    """Sweeps, as long as it leads."""

    def __init__(self, store: Store, waiting: Waiting, config: Settings) -> None:
        self._store = store
        self._waiting = waiting
        self._settings = config
        self._lock: Lock = store.redis.lock(f"{store.prefix}janitor", timeout=3 * config.janitor_seconds)

    def run(self, stop: threading.Event) -> None:
        """Sweep every `janitor_seconds` until asked to stop, whatever happens to Redis meanwhile."""
        log.info("janitor_started", every=self._settings.janitor_seconds)
        cleaner = threading.Thread(target=Cleaner(self._store, self._settings).run, args=(stop,), daemon=True)
        cleaner.start()
        leads = threading.Event()
        deliverer = threading.Thread(target=Deliverer(self._store, self._settings).run, args=(stop, leads), daemon=True)
        deliverer.start()
        while not stop.is_set():
            try:
                (leads.set if self.sweep() else leads.clear)()
                if removed := remove_stale():
                    log.warning("stale_uploads_removed", uploads=removed)
            except (RedisError, OperationalError, OSError) as error:
                log.warning("sweep_failed", error=str(error))
            except Exception:
                # A janitor that stops costs more than one that is wrong once.
                log.exception("sweep_failed")
            if self._settings.heartbeat_file is not None:
                self._settings.heartbeat_file.touch()
            stop.wait(self._settings.janitor_seconds)
        # A deletion under way is not waited for: another janitor continues it.
        cleaner.join(self._settings.janitor_seconds)
        self._resign()
        log.info("janitor_stopped")

    def sweep(self) -> bool:
        """One round; False if another janitor leads."""
        if not self._leads():
            return False
        if renamed := rename_kinds(self._store):
            log.info("jobs_of_an_earlier_release_renamed", jobs=renamed)
        expired = self._store.machine.sweep(max_setbacks=self._settings.max_setbacks, ring_after=self._ring_after())
        if expired:
            self._store.counters.add({(LEASES_EXPIRED,): expired})
            log.warning("leases_expired", shards=expired)
        return True

    def _ring_after(self) -> dict[str, float]:
        try:
            waiting = self._waiting()
        except (OperationalError, OSError, RedisError) as error:
            log.warning("broker_unavailable", error=str(error))
            return dict.fromkeys(QUEUES, RING_BUSY_SECONDS)
        return {queue: RING_BUSY_SECONDS if waiting[queue] else RING_EMPTY_SECONDS for queue in QUEUES}

    def _leads(self) -> bool:
        with suppress(LockError):  # Never held, or it ran out meanwhile.
            self._lock.reacquire()
            return True
        return bool(self._lock.acquire(blocking=False))

    def _resign(self) -> None:
        with suppress(LockError, RedisError):  # Another leads, or Redis cannot say which.
            self._lock.release()


def main() -> None:
    """Sweep until SIGTERM or Ctrl-C."""
    config = settings()
    configure_logging(config.log_level)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    ring = CeleryRing(celery_app(config), time_limit=config.unit_time_limit)
    Janitor(connect(config, ring=ring), ring.waiting, config).run(stop)


if __name__ == "__main__":
    main()
