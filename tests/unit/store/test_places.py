"""Places in the queue, shared work, and what it took."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import pytest

from minirec.store import Store, places
from minirec.store.places import Place, place_of
from tests.unit.store.test_machine import claim, create, job, stage


def place(store: Store, name: str) -> Place | None:
    return place_of(store.jobs, store.jobs.get(name))


def begin(store: Store, name: str, tenant: str, queue: Literal["cpu", "gpu"] = "gpu") -> None:
    first = replace(stage(f"{tenant}:{name}", 2, total=20), queue=queue)
    assert store.machine.create(name, "selection", {"request": "{}", "tenant": tenant}, [first])


def test_jobs_of_a_queue_come_one_after_the_other(store: Store) -> None:
    for name in ("a", "b", "c"):
        begin(store, name, "default")
    begin(store, "elsewhere", "default", "cpu")
    assert [(found.ahead, found.queue) for name in "abc" if (found := place(store, name))] == [
        (0, "gpu"),
        (1, "gpu"),
        (2, "gpu"),
    ]
    held = claim(store, "default:a", 0)
    first, second = place(store, "a"), place(store, "b")
    assert (first and first.ahead, second and second.ahead) == (None, 1), "the first is being done"
    store.machine.commit(held, progress=10)
    store.machine.commit(claim(store, "default:a", 1), progress=10)
    assert place(store, "a") is None, "it is over"
    second = place(store, "b")
    assert second is not None
    assert second.ahead == 0


def test_what_is_being_done_comes_first_though_it_has_left_the_line(store: Store) -> None:
    for name in ("a", "b"):
        begin(store, name, "default")
    for unit in (0, 1):
        claim(store, "default:a", unit)
    found = place(store, "b")
    assert found is not None
    assert found.ahead == 1


def test_a_long_line_tells_its_length_whoever_is_in_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LOOKED_AT", 3)
    for name in ("a", "b", "c", "d"):
        begin(store, name, "default")
    begin(store, "theirs", "others")
    claim(store, "default:a", 0)
    found = [place(store, name) for name in ("a", "b", "d", "theirs")]
    assert [each and (each.ahead, each.starts_at) for each in found] == [(None, None), (1, None), (3, None), (0, None)]


def test_the_pace_of_those_ahead_says_when_it_starts(store: Store) -> None:
    for name in ("a", "b"):
        begin(store, name, "default")
    found = place(store, "b")
    assert found is not None
    assert found.starts_at is None, "nothing is done yet, so there is no pace"
    time.sleep(0.2)
    store.machine.renew(claim(store, "default:a", 0), lease=60, progress=5, cached=0)
    found = place(store, "b")
    assert found is not None
    assert found.starts_at is not None
    # 5 of 20 took 0.2 s or more: the other 15 take three times as long.
    assert 0.5 < found.starts_at - time.time() < 30


def test_other_tenants_are_neither_counted_nor_named(store: Store) -> None:
    begin(store, "theirs", "others")
    begin(store, "mine", "default")
    found = place(store, "mine")
    assert found is not None
    assert (found.ahead, found.shared_with) == (0, [])


def test_jobs_that_wait_for_the_same_work_are_named_to_each_other(store: Store) -> None:
    for name in ("a", "b"):
        create(store, name, stage("g"))
    claim(store, "g")
    found = [place(store, name) for name in "ab"]
    assert [each and (each.ahead, each.shared_with) for each in found] == [(None, ["b"]), (None, ["a"])]


@pytest.mark.parametrize("end", ["commit", "release", "fail", "set_back"])
def test_what_workers_spend_is_booked_for_every_job_that_waits(store: Store, end: str) -> None:
    for name in ("a", "b"):
        create(store, name, stage("g"))
    held = claim(store, "g")
    time.sleep(0.05)
    error = {"code": "odd", "message": "odd"}
    if end == "commit":
        store.machine.commit(held, progress=10)
    elif end == "release":
        store.machine.release(held)
    elif end == "fail":
        store.machine.fail(held, error, retryable=False, max_attempts=3)
    else:
        store.machine.set_back(held, error, max_setbacks=3)
    spent = [float(job(store, name).fields["worker_seconds"]) for name in "ab"]
    assert spent[0] == spent[1]
    assert 0.05 <= spent[0] < 10


def test_what_is_claimed_again_is_added(store: Store) -> None:
    create(store, "j", stage("g"))
    store.machine.release(claim(store, "g"))
    first = float(job(store, "j").fields["worker_seconds"])
    held = claim(store, "g")
    time.sleep(0.05)
    store.machine.commit(held, progress=10)
    assert float(job(store, "j").fields["worker_seconds"]) >= first + 0.05
