"""A worker whose unit hangs is ended, and a storage that fails costs a unit nothing but time."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from minirec.store.blobs import BlobStore
from minirec.worker import work as work_module
from minirec.worker.runner import Runner, setback
from minirec.worker.watchdog import Pulse, watch
from tests.worker.bench import Bench

FORK = multiprocessing.get_context("fork")


def hang(pulse: Pulse) -> None:
    """Hold the interpreter, as a pattern that backtracks does."""
    threading.Thread(target=pulse.beat, args=(threading.Event(),), daemon=True).start()
    re.match("(.*)*(.*)*(.*)*!", "a" * 10_000)


def live(pulse: Pulse, end: Any) -> None:
    left = threading.Event()
    threading.Thread(target=pulse.beat, args=(left,), daemon=True).start()
    end.wait()


def test_a_child_that_holds_the_interpreter_is_killed_by_its_parent() -> None:
    pulse = Pulse()
    child = FORK.Process(target=hang, args=(pulse,))
    child.start()
    watch(pulse, seconds=3)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def test_a_child_that_lives_is_left_alone() -> None:
    pulse, end = Pulse(), FORK.Event()
    child = FORK.Process(target=live, args=(pulse, end))
    child.start()
    watch(pulse, seconds=3)
    child.join(6)
    assert child.exitcode is None
    end.set()
    child.join(30)
    assert child.exitcode == 0


def test_a_unit_that_nobody_wants_and_that_goes_on_ends_its_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings = bench.settings.model_copy(update={"lease_seconds": 1.0})
    monkeypatch.setattr(work_module, "GRACE_SECONDS", 1.0)
    job = bench.create()
    bench.hear(queue="cpu")
    runner = Runner(bench.store, bench.settings, FORK.Event())
    bell = bench.doorbells.pop(0)

    def compute() -> None:
        monkeypatch.setattr("minirec.worker.runner._handle", lambda work: threading.Event().wait())
        runner.run(bell)

    child = FORK.Process(target=compute)
    child.start()
    while not bench.store.redis.zcard(f"{bench.store.prefix}group:{bell.group}:leased"):
        assert child.is_alive()
    bench.store.machine.cancel(job)
    child.join(60)
    assert child.exitcode == work_module.EXIT_STATUS
    assert bench.store.jobs.get(job).status == "cancelled", "its claim is given up, and nobody waits for it"


def test_a_shard_that_takes_too_long_is_an_attempt_with_a_reason(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.settings = bench.settings.model_copy(update={"lease_seconds": 1.0, "unit_time_limit": 1.0})
    monkeypatch.setattr(work_module, "GRACE_SECONDS", 1.0)
    job = bench.create()
    bench.hear(queue="cpu")
    bell = bench.doorbells.pop(0)
    runner = Runner(bench.store, bench.settings, FORK.Event())

    def compute() -> None:
        monkeypatch.setattr("minirec.worker.runner._handle", lambda work: threading.Event().wait())
        runner.run(bell)

    child = FORK.Process(target=compute)
    child.start()
    child.join(60)
    assert child.exitcode == work_module.EXIT_STATUS
    [retry] = [event.data for event in bench.store.events.read(job) if event.type == "retry"]
    assert (retry["code"], retry["attempt"]) == ("shard_timeout", 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    job = bench.create()
    bench.hear(queue="cpu")
    written = BlobStore.put_arrays

    def full(self: BlobStore, name: str, arrays: Any) -> None:
        raise OSError(number, os.strerror(number), name)

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "put_arrays", full)
        assert bench.hear(limit=1) == ["failed"]
    assert BlobStore.put_arrays is written
    assert bench.store.jobs.get(job).status == "running"
    [retry] = [event.data for event in bench.store.events.read(job) if event.type == "retry"]
    assert (retry["code"], retry["setbacks"], retry["pause_seconds"]) == ("storage_full", 1, 0)
    assert "no room left" in retry["reason"]
    bench.hear()
    assert bench.store.jobs.get(job).status == "succeeded"
    assert not list(Path(bench.settings.blob_url.removeprefix("file://")).rglob("*.partial"))


def test_what_lies_in_the_storage_is_told_from_what_lies_in_the_unit() -> None:
    library = RuntimeError("I/O error: No space left on device (os error 28)")
    found = [
        setback(error) for error in (OutOfMemoryError("OOM"), library, RedisTimeoutError("x"), OSError(errno.EIO, "x"))
    ]
    assert [detail and detail["code"] for detail in found] == [
        "storage_full",
        "storage_full",
        "storage_unavailable",
        "storage_unavailable",
    ]
    for error in (ValueError("x"), FileNotFoundError(errno.ENOENT, "x"), MemoryError()):
        assert setback(error) is None
