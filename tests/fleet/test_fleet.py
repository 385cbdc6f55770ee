"""Several machines: picks as on one, whatever the network does to them; and what a shard costs there.

One story: one worker first, for the figures; then three, of which one is cut off for longer than its lease.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tiny_model, write_files
from tests.chaos.stack import ChaosStack
from tests.fleet.fleet import DELAY, LOSS, Fleet, Service, fleet, until
from tests.fleet.wires import missing

pytestmark = pytest.mark.slow

ASKED = bool(os.environ.get("MINIREC_FLEET_TEST"))
LACKS = missing() if ASKED else "builds a network: `make fleet-test` runs this"
if LACKS:
    pytest.skip(LACKS, allow_module_level=True)

CUT_SECONDS = float(os.environ.get("MINIREC_FLEET_CUT_SECONDS", "120"))
SHARD = 16
SHARDS = {"SHARD_SIZE": str(SHARD), "MICRO_BATCH": "8"}
"""As the stack on one machine has them."""
SAMPLES = 480
SETTINGS: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 48,
    "weights": {"gate": {"enabled": False}},
    "curriculum": {"group_size": 8},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_files(tmp_path_factory.mktemp("files"), samples=SAMPLES)


@dataclass(frozen=True)
class Seen:
    """What a service made of the pool, and at what cost."""

    picks: dict[int, list[str]]
    rewards: dict[int, dict[str, list[float]]]
    seconds_per_shard: float
    seconds: float
    """From the request to the result of the first selection."""


def select(service: Service, dataset: str, seed: int) -> tuple[list[str], dict[str, list[float]]]:
    """Return picks and rewards."""
    rollouts = {"group_size": 4, "max_new_tokens": 24, "seed": seed}
    with service.client() as client:
        job = client.selections.create(dataset=dataset, rollouts=rollouts, **SETTINGS)
        client.selections.wait(job.id, timeout=900)
        return client.selections.subset(job.id).ids, {one.id: one.rewards for one in client.selections.scores(job.id)}


def upload(service: Service, files: tuple[Path, Path]) -> str:
    with service.client() as client:
        return client.datasets.upload(samples=files[0], items=files[1]).id


@pytest.fixture(scope="module")
def alone(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What one machine makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    tiny_model(folder / "models")
    stack = ChaosStack(folder)
    stack.start()
    try:
        service = Service(stack.url, (folder / "key").read_text().strip())
        dataset = upload(service, files)
        begun = time.monotonic()
        first = select(service, dataset, 1)
        took, per_shard = time.monotonic() - begun, service.seconds_per_shard()
        second = select(service, dataset, 2)
    finally:
        stack.stop()
    return Seen({1: first[0], 2: second[0]}, {1: first[1], 2: second[1]}, per_shard, took)


@pytest.fixture(scope="module")
def machines(alone: Seen, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet(folder, settings=SHARDS) as made:
        yield made


@pytest.fixture(scope="module")
def dataset(machines: Fleet, files: tuple[Path, Path]) -> str:
    return upload(machines.service, files)


def test_one_worker_far_away_chooses_the_same(machines: Fleet, dataset: str, alone: Seen) -> None:
    machines.start_worker("w1")
    until(lambda: len(machines.service.workers()) == 2, "the worker w1")
    begun = time.monotonic()
    picks, rewards = select(machines.service, dataset, 1)
    took = time.monotonic() - begun
    assert picks == alone.picks[1]
    assert rewards == alone.rewards[1]
    here, there = alone.seconds_per_shard, machines.service.seconds_per_shard()
    say(f"{DELAY * 1e3:.0f} ms one way, {LOSS:.0%} of the frames lost, TLS, an S3 store; {SHARD} samples a shard")
    say(f"a shard takes {there:.2f} s, on one machine {here:.2f} s: {there - here:+.2f} s")
    say(f"the selection of {SAMPLES // SHARD} shards takes {took:.1f} s, on one machine {alone.seconds:.1f} s")


def test_a_worker_that_is_cut_off_costs_time_only(machines: Fleet, dataset: str, alone: Seen) -> None:
    for name in ("w2", "w3"):
        machines.start_worker(name)
    until(lambda: {name_of(one) for one in machines.service.workers()} == {"api", "w1", "w2", "w3"}, "three workers")
    found: list[Any] = []
    work = threading.Thread(target=lambda: found.append(select(machines.service, dataset, 2)))
    work.start()
    until(lambda: doing(machines, "w2") == "score", "w2 to score")
    machines.wires.cut("w2")
    cut_at = time.monotonic()
    work.join(900)
    say(f"w2 was cut off; the selection was done {time.monotonic() - cut_at:.1f} s later")
    picks, rewards = found[0]
    assert picks == alone.picks[2]
    assert rewards == alone.rewards[2]
    with machines.service.client() as client:
        job = next(iter(client.selections.list()))
        assert job.lost_workers >= 1, "it held nothing when it was cut off: that proves nothing"
    time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - cut_at)))
    assert "w2" not in {name_of(one) for one in machines.service.workers()}
    machines.wires.heal("w2")
    say(f"healed after {time.monotonic() - cut_at:.0f} s; w2 reported again after {seen_again(machines):.1f} s")


def test_it_works_again_after_that(machines: Fleet, dataset: str) -> None:
    stop_others = ("w1-gpu,train", "w3-gpu,train")
    for name in stop_others:
        os.killpg(machines.processes[name].pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        select(machines.service, dataset, 3)
        say(f"w2 alone did a selection afterwards in {time.monotonic() - begun:.1f} s")
    finally:
        for name in stop_others:
            os.killpg(machines.processes[name].pid, signal.SIGCONT)


def seen_again(machines: Fleet) -> float:
    return until(lambda: "w2" in {name_of(one) for one in machines.service.workers()}, "w2 to report", patience=300)


def name_of(worker: dict[str, Any]) -> str:
    return str(worker["name"]).split("/")[0]


def doing(machines: Fleet, name: str) -> str | None:
    return next((one["doing"] for one in machines.service.workers() if name_of(one) == name), None)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
