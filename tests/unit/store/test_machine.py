"""Moves of jobs, groups and units, one promise at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import pytest

from minirec.store import Store
from minirec.store.jobs import JobRecord
from minirec.store.machine import Claim, Doorbell, Outcome, Stage

MAX_ATTEMPTS = 3
MAX_SETBACKS = 6
AT_ONCE = {"cpu": -1.0, "gpu": -1.0}
NEVER = {"cpu": 3600.0, "gpu": 3600.0}
ERROR = {"code": "internal_error", "message": "it broke"}


def stage(group: str, units: int = 1, *, name: str = "scoring", total: int | None = None) -> Stage:
    return Stage(name, group, "gpu", "score", units, total or units * 10, '{"a": [1, {"b": null}]}')


def create(store: Store, job: str, *stages: Stage) -> None:
    assert store.machine.create(job, "selection", {"request": '{"size": 3}'}, stages)


def claim(store: Store, group: str, unit: int = 0, *, lease: float = 60) -> Claim:
    taken = store.machine.claim(group, unit, worker="host/1", lease=lease)
    assert taken is not None
    return taken


def job(store: Store, name: str) -> JobRecord:
    return store.jobs.get(name)


def sweep(store: Store, ring_after: dict[str, float] = NEVER) -> int:
    return store.machine.sweep(max_setbacks=MAX_SETBACKS, ring_after=ring_after)


def fail(store: Store, taken: Claim, *, retryable: bool = False, **more: Any) -> bool:
    return store.machine.fail(taken, ERROR | more, retryable=retryable, max_attempts=MAX_ATTEMPTS)


def events(store: Store, name: str, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in store.events.read(name, limit=1000) if event.type == kind]


# Claims


def test_a_new_job_is_queued_and_every_unit_of_its_first_stage_is_rung(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g", 3), stage("h"))
    assert (job(store, "j").status, job(store, "j").stage) == ("queued", "scoring")
    assert job(store, "j").json("request") == {"size": 3}
    assert doorbells == [Doorbell("gpu", "g", unit) for unit in range(3)]


def test_an_id_is_used_once(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g"))
    doorbells.clear()
    assert not store.machine.create("j", "selection", {"request": "{}"}, [stage("other")])
    assert job(store, "j").json("request") == {"size": 3}
    assert doorbells == []


def test_a_claim_says_what_to_do(store: Store) -> None:
    create(store, "j", stage("g", 3))
    taken = claim(store, "g", 2)
    assert (taken.group, taken.unit, taken.attempt, taken.handler) == ("g", 2, 1, "score")
    assert (taken.spec, taken.units, taken.total) == ({"a": [1, {"b": None}]}, 3, 30)
    assert job(store, "j").status == "running"


def test_a_unit_is_held_by_one_worker(store: Store) -> None:
    create(store, "j", stage("g"))
    claim(store, "g")
    assert store.machine.claim("g", 0, worker="host/2", lease=60) is None


@pytest.mark.parametrize(("group", "unit"), [("g", 1), ("g", -1), ("nothing", 0)])
def test_what_is_not_there_is_not_claimed(store: Store, group: str, unit: int) -> None:
    create(store, "j", stage("g"))
    assert store.machine.claim(group, unit, worker="w", lease=60) is None


def test_a_silent_workers_unit_goes_to_another_and_the_first_can_no_longer_write(
    store: Store, doorbells: list[Doorbell]
) -> None:
    create(store, "j", stage("g"))
    doorbells.clear()
    lost = claim(store, "g", lease=-1)
    assert sweep(store) == 1
    assert doorbells == [Doorbell("gpu", "g", 0)]
    found = claim(store, "g")
    assert (found.attempt, int(found.fence) > int(lost.fence)) == (1, True)
    write = Outcome(job={"result": "late"}, writes=[("columns:x", "0", b"late")])
    assert not store.machine.commit(lost, progress=10, outcome=write)
    assert store.machine.renew(lost, lease=60) == "stale"
    assert not fail(store, lost)
    assert not store.machine.release(lost)
    assert not store.redis.exists(f"{store.prefix}columns:x")
    assert store.machine.commit(found, progress=10)
    assert job(store, "j").status == "succeeded"
    assert "result" not in job(store, "j").fields


def test_a_slow_worker_that_nobody_replaced_may_still_commit(store: Store) -> None:
    create(store, "j", stage("g"))
    assert store.machine.commit(claim(store, "g", lease=-1), progress=10)


def test_a_renewed_lease_is_not_swept(store: Store) -> None:
    create(store, "j", stage("g"))
    taken = claim(store, "g", lease=-1)
    assert store.machine.renew(taken, lease=60) == "ok"
    assert sweep(store) == 0


# Commits


def test_a_commit_writes_all_or_nothing_and_leads_to_the_next_stage(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g", name="preparing"))
    doorbells.clear()
    outcome = Outcome(
        job={"provenance": '{"x": "ü"}'},
        stages=[stage("h", 2)],
        warnings=["careful"],
        writes=[("columns:x", "00", bytes(range(256)))],
    )
    taken = claim(store, "g")
    assert store.machine.commit(taken, progress=10, outcome=outcome)
    assert not store.machine.commit(taken, progress=10, outcome=outcome)
    record = job(store, "j")
    assert (record.status, record.stage, record.json("provenance")) == ("running", "scoring", {"x": "ü"})
    assert store.redis.hgetall(f"{store.prefix}columns:x") == {b"00": bytes(range(256))}
    assert events(store, "j", "warning") == [{"message": "careful"}]
    assert doorbells == [Doorbell("gpu", "h", 0), Doorbell("gpu", "h", 1)]


def test_a_stage_ends_with_its_last_unit(store: Store) -> None:
    create(store, "j", stage("g", 3))
    for unit in (2, 0):
        store.machine.commit(claim(store, "g", unit), progress=10)
        assert job(store, "j").status == "running"
    store.machine.commit(claim(store, "g", 1), progress=10)
    assert job(store, "j").status == "succeeded"
    assert events(store, "j", "progress")[-1] == {"stage": "scoring", "done": 30, "total": 30, "cached": 0}


def test_no_unit_is_done_twice(store: Store) -> None:
    create(store, "j", stage("g", 2))
    store.machine.commit(claim(store, "g"), progress=10)
    assert store.machine.claim("g", 0, worker="w", lease=60) is None


# Shared groups


def test_jobs_share_the_units_of_a_group(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "first", stage("g", 2))
    taken = claim(store, "g", 0)
    store.machine.renew(taken, lease=60, progress=4)
    doorbells.clear()
    create(store, "second", stage("g", 2))
    assert doorbells == [], "the units were rung, or are being done"
    assert job(store, "second").status == "running", "its work is being done"
    store.machine.commit(taken, progress=10)
    store.machine.commit(claim(store, "g", 1), progress=10)
    for name in ("first", "second"):
        assert job(store, name).status == "succeeded"
        assert job(store, name).time("started_at") is not None


def test_what_others_paid_for_counts_as_cached_once(store: Store) -> None:
    create(store, "first", stage("g", 2))
    taken = claim(store, "g", 0)
    store.machine.renew(taken, lease=60, progress=4, cached=3)
    create(store, "second", stage("g", 2))
    store.machine.renew(taken, lease=60, progress=6)
    assert events(store, "first", "progress")[-1]["cached"] == 3
    assert events(store, "second", "progress")[-1]["cached"] == 4
    store.machine.commit(taken, progress=10)
    store.machine.commit(claim(store, "g", 1), progress=10)
    assert job(store, "first").fields["cached:scoring"] == "3"
    assert job(store, "second").fields["cached:scoring"] == "4"


def test_checkpoints_read_twice_do_not_make_more_cached_than_done(store: Store) -> None:
    create(store, "j", stage("g"))
    for _ in range(2):
        taken = claim(store, "g", lease=-1)
        store.machine.renew(taken, lease=-1, progress=8, cached=8)
        sweep(store)
    taken = claim(store, "g")
    store.machine.renew(taken, lease=60, progress=9, cached=8)
    assert events(store, "j", "progress")[-1] == {"stage": "scoring", "done": 9, "total": 10, "cached": 9}


def test_a_complete_group_is_not_done_again(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "first", stage("g", 2))
    for unit in (0, 1):
        store.machine.commit(claim(store, "g", unit), progress=10)
    doorbells.clear()
    create(store, "second", stage("g", 2), stage("h"))
    assert doorbells == [Doorbell("gpu", "h", 0)]
    assert events(store, "second", "progress") == [{"stage": "scoring", "done": 20, "total": 20, "cached": 20}]


def test_a_failing_group_fails_all_its_jobs_and_a_newcomer_starts_afresh(store: Store) -> None:
    for name in ("first", "second"):
        create(store, name, stage("g", 2))
    store.machine.commit(claim(store, "g", 0), progress=10)
    fail(store, claim(store, "g", 1), sample_ids=["s7"])
    for name in ("first", "second"):
        assert job(store, name).status == "failed"
        assert job(store, name).json("error") == ERROR | {"stage": "scoring", "sample_ids": ["s7"]}
    create(store, "third", stage("g", 2))
    assert job(store, "third").status == "queued"
    assert claim(store, "g", 1).attempt == 1
    assert store.machine.claim("g", 0, worker="w", lease=60) is None, "what is done stays done"


def test_cancelling_one_of_two_jobs_leaves_the_other_alone(store: Store) -> None:
    for name in ("first", "second"):
        create(store, name, stage("g"))
    taken = claim(store, "g")
    assert store.machine.cancel("first") == "ok"
    assert job(store, "first").status == "cancelled"
    assert store.machine.renew(taken, lease=60) == "ok"
    store.machine.commit(taken, progress=10)
    assert (job(store, "first").status, job(store, "second").status) == ("cancelled", "succeeded")


# Failures


def test_a_failed_unit_is_tried_again_until_its_attempts_are_used_up(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g"))
    for attempt in (1, 2):
        doorbells.clear()
        assert fail(store, claim(store, "g"), retryable=True)
        assert doorbells == [Doorbell("gpu", "g", 0)]
        retry = {"stage": "scoring", "shard": 0, "attempt": attempt, "reason": "it broke", "code": ERROR["code"]}
        assert events(store, "j", "retry")[-1] == retry
    assert fail(store, claim(store, "g"), retryable=True)
    assert job(store, "j").status == "failed"
    assert events(store, "j", "error") == [ERROR | {"stage": "scoring"}]


def lose(store: Store, worker: str, *, progress: int | None = None) -> dict[str, object]:
    """Have a worker claim the unit, get as far as `progress`, and vanish; returns the last event of a retry."""
    store.redis.delete(f"{store.prefix}group:g:later")  # The pause is over.
    store.redis.zadd(f"{store.prefix}group:g:todo", {"0": 0}, xx=True)
    taken = store.machine.claim("g", 0, worker=worker, lease=60)
    assert taken is not None
    assert taken.attempt == 1, "a lost worker is no attempt"
    store.machine.renew(taken, lease=-1, sample_ids=["s1", "s2"], progress=progress)
    assert sweep(store) == 1
    return events(store, "j", "retry")[-1]


def test_a_unit_that_loses_one_worker_after_the_other_fails_its_job(store: Store) -> None:
    create(store, "j", stage("g"))
    pauses = [lose(store, f"host/{n}")["pause_seconds"] for n in range(MAX_SETBACKS)]
    assert pauses[:4] == [0, 1, 2, 4]
    assert job(store, "j").fields["lost_workers"] == str(MAX_SETBACKS)
    lose(store, "host/99")
    error = job(store, "j").json("error")
    assert (error["code"], error["sample_ids"]) == ("worker_lost", ["s1", "s2"])
    assert f"host/99 was lost while it held shard 0, as {MAX_SETBACKS} times before" in error["message"]


def test_workers_may_be_lost_without_end_while_the_work_comes_further(store: Store) -> None:
    create(store, "j", stage("g"))
    for done in range(3 * MAX_SETBACKS):
        assert lose(store, f"host/{done}", progress=done)["pause_seconds"] == 0
    assert job(store, "j").status == "running"


def test_one_worker_that_is_paused_again_and_again_is_no_sign_against_the_unit(store: Store) -> None:
    create(store, "j", stage("g"))
    for _ in range(3 * MAX_SETBACKS):
        lose(store, "host/1")
    assert job(store, "j").status == "running"


def test_nobody_claims_a_unit_before_its_pause_is_over(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g"))
    for n in range(2):
        lose(store, f"host/{n}")
    doorbells.clear()
    assert store.machine.claim("g", 0, worker="w", lease=60) is None
    assert store.machine.claim_next(Doorbell("gpu", "g", 0), worker="w", lease=60) is None
    sweep(store, {"gpu": 0.0})
    assert doorbells == []
    store.redis.zadd(f"{store.prefix}group:g:later", {"0": 1}, xx=True)
    sweep(store)
    assert doorbells == [Doorbell("gpu", "g", 0)]


def test_errors_count_only_where_the_work_came_no_further(store: Store) -> None:
    create(store, "j", stage("g"))
    for done in range(1, 4 * MAX_ATTEMPTS):
        taken = claim(store, "g")
        store.machine.renew(taken, lease=60, progress=done % 10)
        if done < 10:
            assert fail(store, taken, retryable=True)
            assert job(store, "j").status == "running"
        elif not fail(store, taken, retryable=True) or job(store, "j").status == "failed":
            break
    assert job(store, "j").status == "failed", "ten samples, and then none further"


def test_failing_storage_is_waited_for_and_not_blamed_on_the_unit(store: Store) -> None:
    create(store, "j", stage("g"))
    full = {"code": "storage_full", "message": "the disk is full", "retryable": True}
    for _ in range(MAX_SETBACKS):
        store.redis.delete(f"{store.prefix}group:g:later")
        assert store.machine.set_back(claim(store, "g"), full, max_setbacks=MAX_SETBACKS)
        assert events(store, "j", "retry")[-1]["code"] == "storage_full"
        assert job(store, "j").status == "running"
    store.redis.delete(f"{store.prefix}group:g:later")
    store.machine.set_back(claim(store, "g"), full, max_setbacks=MAX_SETBACKS)
    assert job(store, "j").json("error")["code"] == "storage_full"
    assert "lost_workers" not in job(store, "j").fields


def test_an_empty_list_of_samples_does_not_become_an_object(store: Store) -> None:
    create(store, "j", stage("g"))
    fail(store, claim(store, "g"), sample_ids=[])
    assert "sample_ids" not in job(store, "j").json("error")


def test_a_released_unit_costs_no_attempt(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g"))
    for _ in range(5):
        doorbells.clear()
        taken = claim(store, "g")
        assert taken.attempt == 1
        assert store.machine.release(taken)
        assert doorbells == [Doorbell("gpu", "g", 0)]


# Cancelling


def test_nothing_runs_so_the_cancellation_is_immediate(store: Store) -> None:
    create(store, "j", stage("g"))
    assert store.machine.cancel("j") == "ok"
    assert job(store, "j").status == "cancelled"
    assert store.machine.cancel("j") == "ok"
    assert store.machine.claim("g", 0, worker="w", lease=60) is None


def test_a_cancelled_job_ends_when_its_last_worker_stops(store: Store) -> None:
    create(store, "j", stage("g", 2))
    first, second = claim(store, "g", 0), claim(store, "g", 1)
    store.machine.cancel("j")
    assert store.machine.renew(first, lease=60) == "abandoned"
    store.machine.release(first)
    assert job(store, "j").status == "cancelling"
    store.machine.release(second)
    assert job(store, "j").status == "cancelled"


def test_a_cancelled_job_ends_when_its_worker_was_lost(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g"))
    claim(store, "g", lease=-1)
    store.machine.cancel("j")
    doorbells.clear()
    sweep(store)
    assert job(store, "j").status == "cancelled"
    assert doorbells == []


def test_a_commit_during_the_cancellation_is_kept_for_the_retry(store: Store) -> None:
    create(store, "j", stage("plan", name="preparing"))
    taken = claim(store, "plan")
    store.machine.cancel("j")
    outcome = Outcome(job={"provenance": "{}"}, stages=[stage("g")])
    assert store.machine.commit(taken, progress=1, outcome=outcome)
    assert job(store, "j").status == "cancelled"
    store.machine.retry("j")
    assert (job(store, "j").status, job(store, "j").stage) == ("queued", "scoring")
    assert job(store, "j").json("provenance") == {}


def test_a_job_that_comes_while_another_is_cancelled_takes_the_work_over(store: Store) -> None:
    create(store, "first", stage("g"))
    taken = claim(store, "g")
    store.machine.cancel("first")
    create(store, "second", stage("g"))
    assert store.machine.renew(taken, lease=60) == "ok"
    sweep(store)
    assert job(store, "first").status == "cancelled"
    store.machine.commit(taken, progress=10)
    assert job(store, "second").status == "succeeded"


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_what_is_over_is_not_cancelled(store: Store, end: str) -> None:
    create(store, "j", stage("g"))
    taken = claim(store, "g")
    if end == "failed":
        fail(store, taken)
    else:
        store.machine.commit(taken, progress=10)
    assert store.machine.cancel("j") == "finished"
    assert job(store, "j").status == end


# Retries


def test_a_retry_goes_on_with_what_is_left(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("a"), stage("g", 2))
    store.machine.commit(claim(store, "a"), progress=10)
    store.machine.commit(claim(store, "g", 0), progress=10)
    for _ in range(MAX_ATTEMPTS):
        fail(store, claim(store, "g", 1), retryable=True)
    doorbells.clear()
    assert store.machine.retry("j") == "ok"
    record = job(store, "j")
    assert (record.status, record.json("error"), record.time("finished_at")) == ("queued", None, None)
    assert record.fields["retries"] == "1"
    assert doorbells == [Doorbell("gpu", "g", 1)]
    again = claim(store, "g", 1)
    assert again.attempt == 1
    store.machine.commit(again, progress=10)
    assert job(store, "j").status == "succeeded"


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_work_that_nobody_waits_for_is_done_as_the_next_job_wants_it(store: Store, end: str) -> None:
    create(store, "first", stage("g"))
    create(store, "second", replace(stage("g"), spec='{"memory": "less"}'))
    taken = claim(store, "g")
    assert "memory" not in taken.spec, "the first job's way holds as long as it waits"
    if end == "failed":
        fail(store, taken)
    else:
        store.machine.release(taken)
        for name in ("first", "second"):
            store.machine.cancel(name)
    create(store, "third", replace(stage("g"), spec='{"memory": "less"}'))
    assert claim(store, "g").spec == {"memory": "less"}


def test_a_retry_rings_units_whose_doorbells_were_answered_while_nobody_wanted_them(
    store: Store, doorbells: list[Doorbell]
) -> None:
    create(store, "j", stage("g"))
    store.machine.cancel("j")
    assert store.machine.claim("g", 0, worker="w", lease=60) is None
    doorbells.clear()
    store.machine.retry("j")
    assert doorbells == [Doorbell("gpu", "g", 0)]


@pytest.mark.parametrize("state", ["queued", "running", "cancelling", "succeeded"])
def test_only_failed_and_cancelled_jobs_are_retried(store: Store, state: str) -> None:
    create(store, "j", stage("g"))
    if state != "queued":
        taken = claim(store, "g")
    if state == "cancelling":
        store.machine.cancel("j")
    if state == "succeeded":
        store.machine.commit(taken, progress=10)
    assert store.machine.retry("j") == "unfinished"
    assert job(store, "j").status == state


def test_unknown_jobs_are_missing(store: Store) -> None:
    assert (store.machine.cancel("nobody"), store.machine.retry("nobody")) == ("missing", "missing")


# Doorbells that were lost


def test_forgotten_units_are_rung_again_after_their_queues_patience(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g", 2))
    claim(store, "g", 0)
    doorbells.clear()
    sweep(store, NEVER)
    assert doorbells == []
    sweep(store, AT_ONCE)
    assert doorbells == [Doorbell("gpu", "g", 1)]


def test_nobody_rings_for_what_nobody_wants(store: Store, doorbells: list[Doorbell]) -> None:
    create(store, "j", stage("g", 2))
    store.machine.cancel("j")
    doorbells.clear()
    sweep(store, AT_ONCE)
    assert doorbells == []


def test_a_ring_that_fails_does_not_undo_the_move(store: Store) -> None:
    def broken(doorbells: object) -> None:
        raise OSError("no broker")

    store.machine._ring = broken
    with pytest.raises(OSError, match="no broker"):
        store.machine.create("j", "selection", {"request": "{}"}, [stage("g")])
    assert job(store, "j").status == "queued"
    claim(store, "g")


# Looking jobs up


def test_a_record_shows_the_progress_of_its_stage(store: Store) -> None:
    create(store, "j", stage("g", 2, total=17))
    store.machine.commit(claim(store, "g", 0), progress=10)
    store.machine.renew(claim(store, "g", 1), lease=60, progress=3, cached=2)
    progress = job(store, "j").group
    assert progress is not None
    assert (progress.units, progress.done, progress.total, progress.progress, progress.cached) == (2, 1, 17, 13, 2)


def test_active_jobs_are_those_that_have_not_ended(store: Store) -> None:
    for name in ("a", "b", "c"):
        create(store, name, stage(f"g:{name}"))
    store.machine.cancel("a")
    store.machine.commit(claim(store, "g:b"), progress=10)
    assert [record.id for record in store.jobs.active()] == ["c"]
    store.machine.retry("a")
    assert [record.id for record in store.jobs.active()] == ["a", "c"]


def test_events_keep_the_types_of_what_was_told(store: Store) -> None:
    create(store, "j", stage("g"))
    data: dict[str, Any]
    data = {
        "none": None,
        "list": [],
        "object": {},
        "third": 1 / 3,
        "large": 2**53 + 1,
        "text": "ü\u0000",
    }
    store.machine.tell(claim(store, "g"), "metrics", data)
    assert events(store, "j", "metrics") == [data]


# Tenants take turns


def begin(store: Store, name: str, tenant: str, units: int, queue: Literal["cpu", "gpu"] = "gpu") -> None:
    first = replace(stage(f"score:{name}", units), queue=queue)
    assert store.machine.create(name, "selection", {"request": "{}", "tenant": tenant}, [first])


def hear(store: Store, doorbells: list[Doorbell], *, finish: bool = True) -> list[str]:
    """Answer all doorbells in the order in which they were rung, and return the groups whose units were done."""
    done = []
    while doorbells:
        taken = store.machine.claim_next(doorbells.pop(0), worker="host/1", lease=60)
        if taken is not None:
            done.append(taken.group)
            assert not finish or store.machine.commit(taken, progress=10)
    return done


def test_a_tenant_that_comes_late_does_not_wait_for_all_of_another(store: Store, doorbells: list[Doorbell]) -> None:
    for number in range(20):
        begin(store, f"many{number}", "one", 5)
    begin(store, "few", "two", 3)
    begin(store, "single", "default", 1)
    order = hear(store, doorbells)
    assert len(order) == 104, "every unit is done, by whichever doorbell"
    assert [index for index, group in enumerate(order) if group == "score:few"] == [1, 4, 6]
    assert order.index("score:single") == 2
    assert Counter(order) == {f"score:many{n}": 5 for n in range(20)} | {"score:few": 3, "score:single": 1}
    assert all(record.status == "succeeded" for record in store.jobs.of_tenant("one").page("selection", limit=50)[0])


def test_a_single_tenant_s_units_are_done_as_they_were_rung(store: Store, doorbells: list[Doorbell]) -> None:
    for name in ("a", "b"):
        begin(store, name, "default", 3)
    rung = list(doorbells)
    taken = [store.machine.claim_next(bell, worker="w", lease=60) for bell in reversed(rung)]
    assert [(claim.group, claim.unit) for claim in taken if claim] == [(b.group, b.unit) for b in reversed(rung)]


def test_doorbells_of_one_queue_serve_that_queue_only(store: Store, doorbells: list[Doorbell]) -> None:
    begin(store, "on-cpu", "one", 2, "cpu")
    begin(store, "on-gpu", "two", 2, "gpu")
    for bell in list(doorbells):
        taken = store.machine.claim_next(bell, worker="w", lease=60)
        assert taken is not None
        assert taken.group == ("score:on-cpu" if bell.queue == "cpu" else "score:on-gpu")
    assert all(store.machine.claim_next(bell, worker="w", lease=60) is None for bell in doorbells)


def test_a_doorbell_whose_job_is_gone_serves_another(store: Store, doorbells: list[Doorbell]) -> None:
    """Its unit may have been done by the doorbell of the one that it serves now."""
    begin(store, "short", "one", 1)
    begin(store, "long", "two", 2)
    first, *others = doorbells
    taken = store.machine.claim_next(others[0], worker="w", lease=60)
    assert taken is not None
    assert taken.group == "score:short", "it came first"
    store.machine.commit(taken, progress=10)
    store.machine.delete("short")
    assert [store.machine.claim_next(bell, worker="w", lease=60) is None for bell in (first, others[1])] == [
        False,
        False,
    ]


def test_a_retry_is_rung_for_although_its_doorbells_served_others(store: Store, doorbells: list[Doorbell]) -> None:
    begin(store, "first", "one", 1)
    begin(store, "second", "two", 1)
    taken = store.machine.claim_next(doorbells[1], worker="w", lease=60)
    assert taken is not None
    assert taken.group == "score:first"
    assert store.machine.cancel("second") == "ok"
    assert store.machine.claim_next(doorbells[0], worker="w", lease=60) is None
    doorbells.clear()
    assert store.machine.retry("second") == "ok"
    assert doorbells == [Doorbell("gpu", "score:second", 0)]
    assert hear(store, doorbells) == ["score:second"]


def test_who_leaves_and_comes_back_has_no_advantage(store: Store, doorbells: list[Doorbell]) -> None:
    begin(store, "long", "one", 8)
    order = []
    for number in range(4):
        begin(store, f"quick{number}", "two", 1)
        for _ in range(2):
            taken = store.machine.claim_next(doorbells.pop(0), worker="w", lease=60)
            assert taken is not None
            order.append(taken.group.partition(":")[2].rstrip("0123456789"))
            store.machine.commit(taken, progress=10)
    assert order == ["long", "quick"] * 4
