"""The janitor as a process: brings back what was lost, alone or among several, with Redis coming and going."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from minirec.service.janitor import Janitor
from minirec.settings import Settings
from minirec.store import Store, connect
from minirec.store.counters import LEASES_EXPIRED
from minirec.store.doorbell import CeleryRing, celery_app
from minirec.store.machine import Doorbell, Stage
from tests.api.processes import RestartableRedis, process, wait_until

JANITOR = ["-m", "minirec.service.janitor"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RestartableRedis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RestartableRedis(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(server: RestartableRedis, tmp_path: Path) -> Settings:
    return Settings(redis_url=server.url, blob_url=(tmp_path / "blobs").as_uri(), janitor_seconds=0.2)


@pytest.fixture
def store(settings: Settings) -> Store:
    """A store whose own doorbells are lost."""
    return connect(settings, ring=lambda doorbells: None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "janitor.log"


def waiting(settings: Settings) -> dict[str, int]:
    """Messages in the real queues."""
    return CeleryRing(celery_app(settings), time_limit=60).waiting()


def add_job(store: Store, job: str = "sel_1") -> str:
    """A job with one unit; returns its group."""
    store.machine.create(job, "selection", {}, [Stage("preparing", f"prepare:{job}", "cpu", "prepare", 1, 1, "{}")])
    return f"prepare:{job}"


def is_free_again(store: Store, group: str) -> bool:
    return store.machine.claim(group, 0, worker="w2", lease=60) is not None


def claimed(store: Store, group: str, worker: str) -> bool:
    """Take the unit for a moment, whatever pause it has."""
    store.redis.delete(f"{store.prefix}group:{group}:later")
    return store.machine.claim(group, 0, worker=worker, lease=0.05) is not None


def test_a_lost_workers_unit_is_free_again_and_rung(store: Store, settings: Settings, log: Path) -> None:
    group = add_job(store)
    assert store.machine.claim(group, 0, worker="w1", lease=0.3) is not None
    with process(JANITOR, settings, log):
        wait_until(lambda: waiting(settings)["cpu"] == 1, "a doorbell")
        assert is_free_again(store, group)
    assert store.counters.read() == {(LEASES_EXPIRED,): 1}
    assert [event.type for event in store.events.read("sel_1")][-1] == "retry"


def test_training_jobs_of_an_earlier_release_are_listed_under_their_present_name(
    store: Store, settings: Settings
) -> None:
    for job in ("trn_1", "trn_2"):
        store.machine.create(job, "training", {}, [Stage("preparing", f"prepare:{job}", "cpu", "p", 1, 1, "{}")])
    store.machine.create("trn_3", "training_job", {}, [Stage("preparing", "prepare:trn_3", "cpu", "p", 1, 1, "{}")])
    janitor = Janitor(store, lambda: waiting(settings), settings)
    assert janitor.sweep()
    assert janitor.sweep(), "once more changes nothing"
    listed, _ = store.jobs.page("training_job", limit=10)
    assert [(job.id, job.kind) for job in listed] == [(f"trn_{n}", "training_job") for n in (3, 2, 1)]
    assert store.jobs.page("training", limit=10) == ([], False)
    assert store.redis.smembers(f"{store.prefix}kinds") == {b"training_job"}
    store.machine.cancel("trn_1")
    store.machine.delete("trn_1")
    assert [job.id for job in store.jobs.page("training_job", limit=10)[0]] == ["trn_3", "trn_2"]


def test_a_unit_lost_too_often_fails_its_job(store: Store, settings: Settings, log: Path) -> None:
    group = add_job(store)
    with process(JANITOR, settings, log):
        for n in range(settings.max_setbacks + 1):
            wait_until(partial(claimed, store, group, f"host/{n}"), "the unit to be free")
        wait_until(lambda: store.jobs.get("sel_1").status == "failed", "the job to fail")
    assert store.jobs.get("sel_1").json("error")["code"] == "worker_lost"


def test_it_lives_through_the_death_of_redis(
    store: Store, settings: Settings, server: RestartableRedis, log: Path
) -> None:
    group = add_job(store)
    assert store.machine.claim(group, 0, worker="w1", lease=1.0) is not None
    time.sleep(1.1)  # The append-only file is synchronised every second.
    with process(JANITOR, settings, log) as janitor:
        wait_until(lambda: log.exists() and "janitor_started" in log.read_text(), "the janitor")
        server.kill()
        wait_until(lambda: "sweep_failed" in log.read_text(), "the janitor to notice")
        assert janitor.poll() is None
        server.start()

        def recovered() -> bool:
            with suppress(RedisError):
                return is_free_again(store, group)
            return False

        wait_until(recovered, "the janitor to go on")


def test_it_starts_without_redis(store: Store, settings: Settings, server: RestartableRedis, log: Path) -> None:
    server.kill()
    with process(JANITOR, settings, log) as janitor:
        wait_until(lambda: log.exists() and "sweep_failed" in log.read_text(), "the janitor to notice")
        assert janitor.poll() is None
        server.start()
        group = add_job(store)
        assert store.machine.claim(group, 0, worker="w1", lease=0.1) is not None
        wait_until(lambda: is_free_again(store, group), "the janitor to go on")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to(settings: Settings, log: Path, signum: signal.Signals) -> None:
    with process(JANITOR, settings.model_copy(update={"janitor_seconds": 30.0}), log) as janitor:
        wait_until(lambda: log.exists() and "janitor_started" in log.read_text(), "the janitor")
        started = time.monotonic()
        janitor.send_signal(signum)
        assert janitor.wait(10) == 0
        assert time.monotonic() - started < 5
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[-1]["event"] == "janitor_stopped"


def sweeper(store: Store, settings: Settings, messages: int = 0) -> Janitor:
    return Janitor(store, lambda: {"cpu": messages, "gpu": 0, "train": 0}, settings)


def test_only_one_of_several_sweeps_and_another_takes_over(store: Store, settings: Settings) -> None:
    first, second = sweeper(store, settings), sweeper(store, settings)
    assert [first.sweep(), second.sweep(), first.sweep()] == [True, False, True]
    time.sleep(3 * settings.janitor_seconds + 0.1)  # The first one has died.
    assert [second.sweep(), first.sweep()] == [True, False]


def test_a_leader_that_stops_leaves_at_once(store: Store, settings: Settings, log: Path) -> None:
    slow = settings.model_copy(update={"janitor_seconds": 20.0})
    other = sweeper(store, slow)
    with process(JANITOR, slow, log):
        wait_until(lambda: store.redis.exists(f"{store.prefix}janitor"), "the leader")
        assert not other.sweep()
    assert other.sweep()


def test_forgotten_doorbells_are_rung_when_the_queue_is_empty(store: Store, settings: Settings) -> None:
    rung: list[Doorbell] = []
    store = connect(settings, ring=rung.extend)
    group = add_job(store)
    rung.clear()
    key = f"{store.prefix}group:{group}:todo"
    for age, messages, expected in ((5, 0, 0), (11, 5, 0), (11, 0, 1), (601, 5, 1)):
        store.redis.zadd(key, {"0": time.time() - age})
        rung.clear()
        store.redis.delete(f"{store.prefix}janitor")
        assert sweeper(store, settings, messages).sweep()
        assert rung == [Doorbell("cpu", group, 0)] * expected, (age, messages)


def test_a_broker_that_is_away_does_not_stop_the_sweeping(
    server: RestartableRedis, settings: Settings, log: Path
) -> None:
    apart = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    store = connect(settings, ring=lambda doorbells: None)
    group = add_job(store)
    assert store.machine.claim(group, 0, worker="w1", lease=0.1) is not None
    with process(JANITOR, apart, log):
        wait_until(lambda: is_free_again(store, group), "the unit")


def test_it_shows_that_it_lives_while_redis_is_away(
    settings: Settings, server: RestartableRedis, log: Path, tmp_path: Path
) -> None:
    server.kill()
    heartbeat = tmp_path / "heartbeat"
    with process(JANITOR, settings.model_copy(update={"heartbeat_file": heartbeat}), log):
        wait_until(heartbeat.exists, "the heartbeat")
