"""Says every few seconds that this worker lives, and what it is doing."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from redis.exceptions import RedisError

from minirec import __version__
from minirec.api_schemas import Worker
from minirec.store.workers import REPORT_SECONDS, WorkerRecords

log = structlog.get_logger(__name__)


class Presence:
    """Reports for one process, in a thread that ends with it.

    A process that is paused or hangs reports nothing, and is no longer listed after a minute.
    """

    def __init__(self) -> None:
        self._doing: str | None = None
        self._records: WorkerRecords | None = None
        self._name = ""

    def start(self, records: WorkerRecords, *, name: str, queues: Sequence[str]) -> None:
        """Begin to report."""
        self._records, self._name = records, name
        about = {"name": name, "queues": sorted(queues), "version": __version__, "started_at": time.time()}

        def report() -> None:
            while True:
                try:
                    records.report(Worker(**about, doing=self._doing, **_gpu()))
                except RedisError as error:
                    log.info("presence_not_reported", error=str(error))
                time.sleep(REPORT_SECONDS)

        threading.Thread(target=report, name="presence", daemon=True).start()

    @contextmanager
    def doing(self, handler: str) -> Iterator[None]:
        """Report that a unit of this kind is in hand, for as long as the block lasts."""
        self._doing = handler
        try:
            yield
        finally:
            self._doing = None

    def leave(self) -> None:
        """Report that this process ends."""
        if self._records is not None:
            with suppress(RedisError):
                self._records.leave(self._name)


def process_name() -> str:
    """Return what this process is called in claims, messages and reports."""
    return f"{socket.gethostname()}/{os.getpid()}"


def _gpu() -> dict[str, Any]:
    """Return what to say of the GPU once something computes on it; looking for one would take its memory."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "gpu": torch.cuda.get_device_name(),
        "gpu_memory_used_bytes": total - free,
        "gpu_memory_bytes": total,
    }


PRESENCE = Presence()
"""Of this process."""
