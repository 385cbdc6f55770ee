"""Jobs end, and what only they needed ends with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minirec.store import Store
from minirec.store.errors import InUseError, NotFoundError
from minirec.store.machine import Doorbell, Outcome, Stage
from minirec.store.retention import delete_job, empty_jobs_of, expire_jobs

ERROR = {"code": "internal_error", "message": "it broke"}


def create(store: Store, job: str, *groups: str, needs: tuple[str, ...] = (), dataset: str = "ds_1") -> None:
    """A job that has one stage of one unit per group."""
    stages = [Stage(group.partition(":")[0], group, "gpu", "score", 1, 1, "{}") for group in groups]
    assert store.machine.create(job, "selection", {"dataset_id": dataset}, stages, needs=needs)


def do(store: Store, group: str, outcome: Outcome | None = None) -> None:
    claim = store.machine.claim(group, 0, worker="host/1", lease=60)
    assert claim is not None
    assert store.machine.commit(claim, progress=1, outcome=outcome)


def keys(store: Store) -> list[str]:
    return sorted(key.decode() for key in store.redis.scan_iter("*"))


def garbage(store: Store) -> list[str]:
    members: list[Any] = store.redis.zrange(f"{store.prefix}garbage", 0, -1)
    return sorted(name.decode() for name in members)


def test_an_unfinished_job_is_in_use_by_itself(store: Store) -> None:
    create(store, "sel_1", "score:a")
    with pytest.raises(InUseError, match="sel_1 has not ended") as caught:
        delete_job(store, "sel_1")
    assert caught.value.by == "sel_1"


def test_what_is_not_there_cannot_be_deleted(store: Store) -> None:
    with pytest.raises(NotFoundError):
        delete_job(store, "sel_1")


def test_a_job_that_another_needs_stays_until_that_has_ended(store: Store) -> None:
    create(store, "sel_1", "score:a")
    do(store, "score:a")
    create(store, "trn_1", "train:b", needs=("sel_1",))
    with pytest.raises(InUseError) as caught:
        delete_job(store, "sel_1")
    assert caught.value.by == "trn_1"
    do(store, "train:b")
    delete_job(store, "sel_1")
    assert store.jobs.get("trn_1").status == "succeeded"


def test_what_two_jobs_share_goes_with_the_second(store: Store) -> None:
    for job in ("sel_1", "sel_2"):
        create(store, job, "score:a")
    do(store, "score:a", Outcome(writes=[("columns:scores:a", "0", b"x")]))
    delete_job(store, "sel_1")
    assert garbage(store) == []
    assert store.redis.exists(f"{store.prefix}columns:scores:a")
    delete_job(store, "sel_2")
    assert garbage(store) == ["pools/a.safetensors", "scorings/a/"]
    assert not store.redis.exists(f"{store.prefix}columns:scores:a")


def test_stages_that_were_never_reached_are_given_up_as_well(store: Store) -> None:
    create(store, "sel_1", "score:a", "select:sel_1")
    store.machine.cancel("sel_1")
    delete_job(store, "sel_1")
    assert garbage(store) == ["pools/a.safetensors", "pools/sel_1.safetensors", "scorings/a/"]
    assert keys(store) == ["minirec:garbage"]


def test_what_a_planning_unit_wrote_goes_with_its_job(store: Store) -> None:
    create(store, "sel_1", "prepare:sel_1")
    do(store, "prepare:sel_1", Outcome(outputs=["pools/x.safetensors"]))
    delete_job(store, "sel_1")
    assert garbage(store) == ["pools/x.safetensors"]


def test_a_stage_says_what_its_units_write(store: Store) -> None:
    stage = Stage("odd", "odd:a", "gpu", "score", 1, 1, "{}", outputs=("odd/a/", "columns:odd:a"))
    store.machine.create("sel_1", "selection", {}, [stage])
    do(store, "odd:a", Outcome(writes=[("columns:odd:a", "0", b"x")]))
    delete_job(store, "sel_1")
    assert keys(store) == ["minirec:garbage"]
    assert garbage(store) == ["odd/a/"]


def test_garbage_that_is_wanted_again_is_kept(store: Store) -> None:
    create(store, "sel_1", "score:a")
    do(store, "score:a")
    delete_job(store, "sel_1")
    create(store, "sel_2", "score:a")
    assert garbage(store) == []
    assert store.machine.take_garbage(limit=10) == []


def test_what_is_being_deleted_is_not_written_meanwhile(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "sel_1", "score:a")
    do(store, "score:a")
    delete_job(store, "sel_1")
    taken = store.machine.take_garbage(limit=10)
    create(store, "sel_2", "score:a")
    assert store.machine.claim("score:a", 0, worker="host/1", lease=60) is None
    assert store.machine.take_garbage(limit=10) == sorted(taken) or set(taken) == set(garbage(store))
    for name in taken:
        doorbells.clear()
        store.machine.end_garbage(name)
    assert [bell.group for bell in doorbells] == ["score:a"]
    do(store, "score:a")
    assert store.jobs.get("sel_2").status == "succeeded"


def test_a_group_waits_for_its_last_worker_before_it_is_collected(store: Store) -> None:
    stage = Stage("scoring", "score:a", "gpu", "score", 2, 2, "{}")
    store.machine.create("sel_1", "selection", {}, [stage])
    at_work, failing = (store.machine.claim("score:a", unit, worker="w", lease=60) for unit in (0, 1))
    assert at_work is not None
    assert failing is not None
    assert store.machine.fail(failing, ERROR, retryable=False, max_attempts=3)
    delete_job(store, "sel_1")
    store.machine.sweep(max_setbacks=3, ring_after={})
    assert garbage(store) == []
    assert store.machine.renew(at_work, lease=60) == "abandoned"
    assert store.machine.release(at_work)
    store.machine.sweep(max_setbacks=3, ring_after={})
    assert garbage(store) == ["pools/a.safetensors", "scorings/a/"]


def test_a_group_whose_last_worker_died_is_collected_when_its_lease_ends(store: Store) -> None:
    stage = Stage("scoring", "score:a", "gpu", "score", 2, 2, "{}")
    store.machine.create("sel_1", "selection", {}, [stage])
    failing = store.machine.claim("score:a", 1, worker="w", lease=60)
    assert store.machine.claim("score:a", 0, worker="w", lease=-1)
    assert failing is not None
    assert store.machine.fail(failing, ERROR, retryable=False, max_attempts=3)
    delete_job(store, "sel_1")
    store.machine.sweep(max_setbacks=3, ring_after={})
    assert keys(store) == ["minirec:fence", "minirec:garbage"]


def test_jobs_that_ended_long_ago_expire(store: Store) -> None:
    for job, group in (("sel_old", "score:a"), ("sel_needed", "score:b"), ("sel_running", "score:c")):
        create(store, job, group)
    do(store, "score:a")
    do(store, "score:b")
    create(store, "trn_1", "train:x", needs=("sel_needed",))
    finished = store.jobs.get("sel_old").time("finished_at") or 0
    assert expire_jobs(store, days=2, now=finished + 2 * 86400 - 60) == []
    assert expire_jobs(store, days=2, now=finished + 2 * 86400 + 60) == ["sel_old"]
    do(store, "train:x")
    assert set(expire_jobs(store, days=2, now=finished + 3 * 86400)) == {"sel_needed", "trn_1"}
    assert store.jobs.get("sel_running").status == "queued"


def test_jobs_of_a_deleted_dataset_are_emptied_and_stay_listed(store: Store) -> None:
    create(store, "sel_1", "score:a")
    create(store, "sel_2", "score:a", dataset="ds_2")
    do(store, "score:a", Outcome(writes=[("columns:scores:a", "0", b"x")]))
    empty_jobs_of(store, "ds_1")
    assert garbage(store) == []
    empty_jobs_of(store, "ds_2")
    assert garbage(store) == ["pools/a.safetensors", "scorings/a/"]
    assert store.jobs.get("sel_1").status == "succeeded"
    delete_job(store, "sel_1")
    delete_job(store, "sel_2")
    assert keys(store) == ["minirec:garbage"]


def test_an_emptied_job_cannot_be_retried(store: Store) -> None:
    create(store, "sel_1", "score:a")
    store.machine.cancel("sel_1")
    empty_jobs_of(store, "ds_1")
    assert store.machine.retry("sel_1") == "missing"


def test_a_running_job_of_the_dataset_forbids_it(store: Store) -> None:
    create(store, "sel_1", "score:a")
    with pytest.raises(InUseError):
        empty_jobs_of(store, "ds_1")


def test_jobs_of_an_older_release_are_counted_before_anything_is_deleted(store: Store) -> None:
    for job in ("sel_old", "sel_other"):
        create(store, job, "score:a")
    do(store, "score:a", Outcome(writes=[("columns:scores:a", "0", b"x")]))
    # As that release left them: nothing says who needs what.
    for job in ("sel_old", "sel_other"):
        store.redis.hdel(f"{store.prefix}job:{job}", "named", "needs")
        key = f"{store.prefix}job:{job}:stages"
        stage = json.loads(store.redis.lindex(key, 0) or b"")
        del stage["outputs"]
        store.redis.lset(key, 0, json.dumps(stage))
    store.redis.delete(*(key for key in keys(store) if key.endswith((":jobs", ":outputs")) or "output:" in key))
    store.redis.delete(f"{store.prefix}kinds")
    delete_job(store, "sel_old")
    assert store.redis.exists(f"{store.prefix}columns:scores:a")
    delete_job(store, "sel_other")
    assert keys(store) == ["minirec:garbage"]
    assert garbage(store) == ["pools/a.safetensors", "scorings/a/"]


def test_fences_grow_although_the_counter_went_with_the_last_job(store: Store) -> None:
    fences = []
    for job in ("sel_1", "sel_2"):
        create(store, job, "score:a")
        claim = store.machine.claim("score:a", 0, worker="w", lease=60)
        assert claim is not None
        assert store.machine.commit(claim, progress=1)
        fences.append(int(claim.fence))
        delete_job(store, job)
    assert fences[0] < fences[1]


# What was lost


def lose(store: Store) -> None:
    """A job at its last stage."""
    stages = [
        Stage("scoring", "score:a", "gpu", "score", 3, 30, "{}"),
        Stage("selecting", "select:sel_1", "cpu", "select", 1, 1, "{}"),
    ]
    store.machine.create("sel_1", "selection", {}, stages)
    for unit in range(3):
        claim = store.machine.claim("score:a", unit, worker="w", lease=60)
        assert claim is not None
        assert store.machine.commit(claim, progress=10)


def test_lost_units_are_done_again_and_the_job_goes_on(store: Store, doorbells: list[Doorbell]) -> None:
    lose(store)
    claim = store.machine.claim("select:sel_1", 0, worker="w", lease=60)
    assert claim is not None
    doorbells.clear()
    assert store.machine.reopen(claim, {"score:a": [1]}, message="shard 1 was lost", limit=5) == "ok"
    assert store.machine.renew(claim, lease=60) == "stale"
    assert doorbells == [("gpu", "score:a", 1)]
    record = store.jobs.get("sel_1")
    assert (record.status, record.stage) == ("running", "scoring")
    assert record.group is not None
    assert (record.group.done, record.group.progress) == (2, 20)
    assert [event.data for event in store.events.read("sel_1") if event.type == "warning"] == [
        {"message": "shard 1 was lost"}
    ]
    again = store.machine.claim("score:a", 1, worker="w", lease=60)
    assert again is not None
    assert again.attempt == 1
    assert store.machine.commit(again, progress=10)
    do(store, "select:sel_1")
    assert store.jobs.get("sel_1").status == "succeeded"


def test_a_job_is_not_sent_back_for_ever(store: Store) -> None:
    lose(store)
    for answer in ("ok", "ok", "again"):
        claim = store.machine.claim("select:sel_1", 0, worker="w", lease=60)
        assert claim is not None
        assert store.machine.reopen(claim, {"score:a": [0]}, message="lost", limit=2) == answer
        if answer == "ok":
            do(store, "score:a")
    assert claim is not None
    assert store.machine.fail(claim, ERROR, retryable=False, max_attempts=3)
    assert store.machine.retry("sel_1") == "ok"
    claim = store.machine.claim("select:sel_1", 0, worker="w", lease=60)
    assert claim is not None
    assert store.machine.reopen(claim, {"score:a": [0]}, message="lost", limit=2) == "ok"


@pytest.mark.parametrize(("lost", "answer"), [({"score:other": [0]}, "unknown"), ({"select:sel_1": [0]}, "own")])
def test_what_no_earlier_stage_made_changes_nothing(store: Store, lost: dict[str, list[int]], answer: str) -> None:
    lose(store)
    claim = store.machine.claim("select:sel_1", 0, worker="w", lease=60)
    assert claim is not None
    assert store.machine.reopen(claim, lost, message="lost", limit=5) == answer
    assert store.machine.renew(claim, lease=60) == "ok"


def test_a_plan_that_is_made_again_replaces_the_first(store: Store) -> None:
    def planned(*groups: str) -> Outcome:
        stages = [Stage("scoring", group, "gpu", "score", 1, 1, "{}") for group in groups]
        return Outcome(stages=stages, outputs=["pools/p.safetensors"])

    create(store, "sel_1", "prepare:sel_1")
    do(store, "prepare:sel_1", planned("score:a", "score:b"))
    claim = store.machine.claim("score:a", 0, worker="w", lease=60)
    assert claim is not None
    assert store.machine.reopen(claim, {"prepare:sel_1": [0]}, message="the pool was lost", limit=5) == "ok"
    do(store, "prepare:sel_1", planned("score:a", "score:c"))
    for group in ("score:a", "score:c"):
        do(store, group)
    assert store.jobs.get("sel_1").status == "succeeded"
    assert garbage(store) == ["pools/b.safetensors", "scorings/b/"]
