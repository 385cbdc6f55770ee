"""Two processes that train one adapter: the same as one process makes, and gone when they should be."""

from __future__ import annotations

import json
import multiprocessing
import time
from typing import Any

import psutil
import pytest

from minirec.settings import Settings
from minirec.store import connect
from minirec.store.machine import Doorbell
from minirec.worker.runner import Runner
from tests.worker.bench import Bench
from tests.worker.test_training_jobs import ROLLOUTS, adapter, artifact, body, events, forget, result

pytestmark = pytest.mark.slow

FORK = multiprocessing.get_context("fork")

# Of seven samples the last batch has one, so that one of the two processes has none.
LONG = body(args={"updates": 8, "rollouts": ROLLOUTS | {"ndcg_k": 1000}}, evaluation={"every": 2, "test_samples": 0})


@pytest.fixture
def two(split_bench: Bench) -> Bench:
    """The bench, with a worker that trains in two processes."""
    split_bench.settings = split_bench.settings.model_copy(update={"train_processes": 2, "lease_seconds": 2})
    split_bench.runner = Runner(split_bench.store, split_bench.settings, FORK.Event())
    return split_bench


def do_unit(settings: Settings, group: str) -> None:
    """What a Celery child does: the first unit of a group."""
    store = connect(settings, ring=lambda _: None)
    Runner(store, settings, FORK.Event()).run(Doorbell("train", group, 0))


def wait_for(bench: Bench, job: str, update: int) -> None:
    deadline = time.monotonic() + 120
    while not any(event.data["update"] == update for event in events(bench, job, "metrics")):
        assert time.monotonic() < deadline, "training did not come that far"
        time.sleep(0.02)


def metrics(bench: Bench, job: str) -> list[dict[str, Any]]:
    lines = artifact(bench, job, "metrics.jsonl").read_text().splitlines()
    timeless = ("update", "loss", "reward_mean", "hit_rate", "ndcg10", "dead_groups", "tokens")
    return [{name: json.loads(line)[name] for name in timeless} for line in lines]


def test_two_processes_make_the_adapter_of_one_though_their_worker_is_killed(two: Bench) -> None:
    job = two.train(**LONG)
    two.hear(queue="cpu")
    (bell,) = two.doorbells
    two.doorbells.clear()
    worker = FORK.Process(target=do_unit, args=(two.settings, bell.group), daemon=True)
    worker.start()
    wait_for(two, job, 3)
    assert worker.pid is not None
    family = psutil.Process(worker.pid).children(recursive=True)
    assert len(family) == 3, "the launcher and two processes"
    worker.kill()
    worker.join()
    left = psutil.wait_procs(family, timeout=20)[1]
    assert left == [], "nobody trains for a worker that is dead"
    while not two.doorbells:
        two.store.machine.sweep(max_setbacks=3, ring_after={"cpu": 60.0, "train": 60.0})
        time.sleep(0.1)
    two.hear()
    done, ours, our_metrics = result(two, job), adapter(two, job), metrics(two, job)
    seen = [event.data["update"] for event in events(two, job, "metrics")]
    assert seen.index(3) == 2, "updates came one after the other"
    assert seen.count(1) == seen.count(2) == 1, "the second worker went on from the checkpoint of the second update"

    forget(two, job)
    two.settings = two.settings.model_copy(update={"train_processes": 1})
    two.runner = Runner(two.store, two.settings, FORK.Event())
    alone = two.train(**LONG)
    two.hear()
    expected = result(two, alone)
    assert (done.updates, done.samples_seen, done.best_update) == (8, 20, expected.best_update)
    assert done.valid_ndcg10 == pytest.approx(expected.valid_ndcg10, rel=1e-6)
    for one, other in zip(our_metrics, metrics(two, alone), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    theirs = adapter(two, alone)
    assert ours.keys() == theirs.keys()
    for name in ours:
        # Adam turns the rounding of a tiny gradient into a step of its own.
        assert ours[name] == pytest.approx(theirs[name], abs=1e-3), name
    assert max(abs(weights).max() for name, weights in theirs.items() if "lora_B" in name) > 0.02
