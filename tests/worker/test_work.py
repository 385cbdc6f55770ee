"""The heartbeat of a unit that is being done."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from minirec.store.machine import Claim
from minirec.worker.runner import Runner
from minirec.worker.work import Interrupted, Work
from tests.worker.bench import Bench

LEASE = 1.0


@pytest.fixture
def work(bench: Bench) -> Work:
    """A claim on a shard that two selections may share, with a short lease."""
    bench.settings = bench.settings.model_copy(update={"lease_seconds": LEASE})
    bench.runner = Runner(bench.store, bench.settings, bench.runner._stopping)
    bench.create(size=5)
    bench.hear(queue="cpu")
    return Work(claim_first(bench), bench.store, bench.settings, bench.runner._stopping)


def claim_first(bench: Bench) -> Claim:
    bell = bench.doorbells.pop(0)
    claim = bench.store.machine.claim(bell.group, bell.unit, worker="test", lease=LEASE)
    assert claim is not None
    return claim


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_interrupted(work: Work) -> bool:
    try:
        work.check()
    except Interrupted:
        return True
    return False


def test_a_unit_that_is_abandoned_and_wanted_again_keeps_its_lease(bench: Bench, work: Work) -> None:
    [job] = [record.id for record in bench.store.jobs.active()]
    with work:
        assert bench.store.machine.cancel(job) == "ok"
        wait_until(lambda: is_interrupted(work))
        bench.create(size=6)  # which needs the same shard
        bench.hear(queue="cpu")
        wait_until(lambda: not is_interrupted(work))
        time.sleep(2 * LEASE)
        assert bench.store.machine.sweep(max_setbacks=3, ring_after={"gpu": 600}) == 0, "it was at work all the time"
        work.progress(16)
    assert bench.store.machine.commit(work.claim, progress=16)


def test_a_claim_that_was_lost_stays_lost(bench: Bench, work: Work) -> None:
    time.sleep(1.2 * LEASE)
    assert bench.store.machine.sweep(max_setbacks=3, ring_after={"gpu": 600}) == 1
    with work:
        with pytest.raises(Interrupted, match="stale"):
            work.progress(1)
        wait_until(lambda: is_interrupted(work))
        with pytest.raises(Interrupted, match="stale"):
            work.progress(2)
