"""The Celery application: `celery -A minirec.worker.app worker -Q gpu,train -c 1`.

One prefork child per GPU. Torch is imported in the child only: CUDA and torch's thread pools do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from typing import Any

import structlog
from celery import signals
from redis.exceptions import RedisError

from minirec import tracing
from minirec.logs import configure_logging
from minirec.scratch import remove_abandoned, use_own_scratch
from minirec.settings import settings
from minirec.store.doorbell import TASK, celery_app
from minirec.store.machine import Doorbell
from minirec.store.workers import WorkerRecords
from minirec.worker.presence import PRESENCE, process_name
from minirec.worker.watchdog import LEASES, PULSE, watch

# Before anything makes a temporary file: what a killed worker leaves is below one folder, and the next one removes it.
_scratch, _parent_pid = use_own_scratch(), os.getpid()


def _leave() -> None:
    if os.getpid() == _parent_pid:
        shutil.rmtree(_scratch, ignore_errors=True)
        remove_abandoned()


# After multiprocessing has removed its own folders, at priority -100.
Finalize(None, _leave, exitpriority=-200)

app = celery_app(settings())
# A child of the gpu queue imports torch before it says that it is alive.
app.conf.update(worker_proc_alive_timeout=180.0)

# Shared with the children: set in the parent when it is asked to stop, so that a child gives its unit back at the
# next checkpoint instead of being waited for or killed in the middle.
stopping = multiprocessing.get_context("fork").Event()


@signals.setup_logging.connect
def _logging(**_: Any) -> None:
    configure_logging(settings().log_level)


@signals.worker_shutting_down.connect
def _shutting_down(**_: Any) -> None:
    stopping.set()


@signals.heartbeat_sent.connect
def _alive(**_: Any) -> None:
    if (file := settings().heartbeat_file) is not None:
        file.touch()


@signals.worker_init.connect
def _parent(**_: Any) -> None:
    _tidy()
    watch(PULSE, seconds=LEASES * settings().lease_seconds)


@signals.worker_process_shutdown.connect
def _child_ends(**_: Any) -> None:
    PRESENCE.leave()
    tracing.stop()
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


def _tidy() -> None:
    if removed := remove_abandoned():
        structlog.get_logger(__name__).warning("scratch_of_lost_workers_removed", folders=removed)


@signals.worker_process_init.connect
def _child(**_: Any) -> None:
    _tidy()
    use_own_scratch()
    tracing.start("minirec-worker")
    if settings().torch_threads:
        os.environ["OMP_NUM_THREADS"] = str(settings().torch_threads)
    _report_presence()
    if "gpu" in app.amqp.queues.consume_from:
        _report_device()


def _report_presence() -> None:
    from minirec.store import PREFIX
    from minirec.store.connection import connection

    redis = connection(settings().redis_url, patience=10.0, breaker=False)
    PRESENCE.start(WorkerRecords(redis, PREFIX), name=process_name(), queues=list(app.amqp.queues.consume_from))


def _report_device() -> None:
    """Say what models run on here, so that the cpu queue can settle what `auto` dtypes become."""
    from minirec.store import connect
    from minirec.worker.devices import this_device

    try:
        connect(settings()).devices.report(this_device())
    except RedisError as error:
        structlog.get_logger(__name__).warning("device_not_reported", error=str(error))


@app.task(name=TASK, bind=True)
def run_unit(self: Any, group: str, unit: int) -> str:
    """Do a unit of the queue that was rung for, if one is to be done, and return what came of it."""
    from minirec.worker.runner import Runner

    return Runner.of_this_process(stopping).run(Doorbell(self.request.delivery_info["routing_key"], group, unit))
