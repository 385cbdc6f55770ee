"""Whatever workers, clients, lost messages and the janitor do, in any order, the state machine keeps its promises."""

from __future__ import annotations

import itertools
import json
import os
from functools import partial
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from minirec.store.errors import InUseError, NotFoundError
from minirec.store.events import EventLog
from minirec.store.jobs import JobReader
from minirec.store.machine import Claim, Doorbell, Machine, Outcome, Stage
from minirec.store.names import outputs_of

SHARED = {"score:a": 2, "score:b": 3}
"""Groups that several jobs may need, with their units; each unit holds 10 samples."""
TENANTS = {"score:a": None, "score:b": "two"}
"""Whose each is: nothing is shared between tenants."""
UNIT_SAMPLES = 10
MAX_ATTEMPTS = 3
MAX_SETBACKS = 2
LIVE = 3600.0
"""Leases last until a test lets them run out: nothing here waits for time to pass."""
TERMINAL = {"succeeded", "failed", "cancelled"}
LEGAL_MOVES = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("queued", "failed"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelling"),
    ("running", "cancelled"),
    ("cancelling", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
}

T = TypeVar("T")
indices = st.integers(min_value=0, max_value=10**6)
prefixes = itertools.count()


class Deployment(RuleBasedStateMachine):
    """Jobs with three stages: one of their own that plans, one that may be shared, one of their own that ends."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.redis: Any = redis.Redis.from_url(url)  # Any: its types leave open whether replies are bytes
        self.prefix = f"p{os.getpid()}-{next(prefixes)}:"
        self.doorbells: list[Doorbell] = []
        self.machine = Machine(self.redis, prefix=self.prefix, ring=self.doorbells.extend)
        self.reader = JobReader(self.redis, prefix=self.prefix)
        self.log = EventLog(self.redis, prefix=self.prefix)
        self.jobs: list[str] = []
        self.created = 0
        self.blobs: set[str] = set()
        self.lost: set[str] = set()
        self.taken: list[str] = []
        self.shared_group: dict[str, str] = {}
        self.claims: list[Claim] = []
        self.committed: dict[tuple[str, int], str] = {}
        self.progress: dict[str, int] = {}
        self.newest_fence: dict[tuple[str, int], int] = {}
        self.retries: dict[str, int] = {}

    def teardown(self) -> None:
        try:
            self._everything_ends()
        finally:
            for key in self.redis.scan_iter(f"{self.prefix}*", count=1000):
                self.redis.delete(key)
            self.redis.close()

    # What clients do

    @precondition(lambda self: len(self.jobs) < 4)
    @rule(group=st.sampled_from(sorted(SHARED)))
    def create(self, group: str) -> None:
        job = f"job{self.created}"
        self.created += 1
        tenant = TENANTS[group]
        fields = {"request": "{}"} | ({"tenant": tenant} if tenant else {})
        assert self.machine.create(job, "selection", fields, [self._own_stage("plan", job)])
        assert not self.machine.create(job, "selection", {"request": "{}"}, [self._own_stage("plan", job)])
        self.jobs.append(job)
        self.shared_group[job] = group
        self.retries[job] = 0

    @precondition(lambda self: self.jobs)
    @rule(index=indices)
    def cancel(self, index: int) -> None:
        job = self._pick(self.jobs, index)
        before = self.reader.get(job).status
        answer = self.machine.cancel(job)
        assert answer == ("finished" if before in ("succeeded", "failed") else "ok")

    @precondition(lambda self: self.jobs)
    @rule(index=indices)
    def retry(self, index: int) -> None:
        job = self._pick(self.jobs, index)
        before = self.reader.get(job).status
        answer = self.machine.retry(job)
        assert answer == ("ok" if before in ("failed", "cancelled") else "unfinished")
        self.retries[job] += answer == "ok"

    @precondition(lambda self: self.jobs)
    @rule(index=indices)
    def delete(self, index: int) -> None:
        job = self._pick(self.jobs, index)
        if self.reader.get(job).status in TERMINAL:
            self.machine.delete(job)
            self._forget(job)
        else:
            with pytest.raises(InUseError) as caught:
                self.machine.delete(job)
            assert caught.value.by == job

    @rule()
    def delete_what_is_not_there(self) -> None:
        with pytest.raises(NotFoundError):
            self.machine.delete("nothing")

    @precondition(lambda self: self.blobs)
    @rule(index=indices)
    def lose_a_blob(self, index: int) -> None:
        blob = self._pick(sorted(self.blobs), index)
        self.blobs.remove(blob)
        self.lost.add(blob)

    # What workers do

    @precondition(lambda self: self.doorbells)
    @rule(index=indices, duplicate=st.booleans())
    def hear_a_doorbell(self, index: int, duplicate: bool) -> None:
        bell = self._pick(self.doorbells, index)
        if not duplicate:
            self.doorbells.remove(bell)
        self._claim(bell)

    @precondition(lambda self: self.doorbells)
    @rule(index=indices)
    def lose_a_doorbell(self, index: int) -> None:
        self.doorbells.remove(self._pick(self.doorbells, index))

    @precondition(lambda self: self.claims)
    @rule(index=indices, steps=st.integers(1, UNIT_SAMPLES), cached=st.booleans())
    def work_on(self, index: int, steps: int, cached: bool) -> None:
        claim = self._pick(self.claims, index)
        before = self.progress.get(claim.fence, 0)
        after = min(before + steps, self._samples(claim))
        answer = self.machine.renew(claim, lease=LIVE, progress=after, cached=after - before if cached else None)
        assert self._is_current(claim) or answer == "stale"
        self.progress[claim.fence] = after

    @precondition(lambda self: self.claims)
    @rule(index=indices)
    def fall_silent(self, index: int) -> None:
        claim = self._pick(self.claims, index)
        self.machine.renew(claim, lease=LIVE, sample_ids=["s1"])
        self._let_lease_run_out(claim)

    @precondition(lambda self: self.claims)
    @rule(index=indices)
    def commit(self, index: int) -> None:
        self._finish(self._pick(self.claims, index))

    @precondition(lambda self: self.claims)
    @rule(index=indices, retryable=st.booleans())
    def fail(self, index: int, retryable: bool) -> None:
        claim = self._pick(self.claims, index)
        error = {"code": "internal_error", "message": "it broke", "sample_ids": []}
        done = self.machine.fail(claim, error, retryable=retryable, max_attempts=MAX_ATTEMPTS)
        assert not done or self._is_current(claim)

    @precondition(lambda self: self.claims)
    @rule(index=indices)
    def release(self, index: int) -> None:
        claim = self._pick(self.claims, index)
        done = self.machine.release(claim)
        assert not done or self._is_current(claim)

    # What the janitor does

    @rule(patient=st.booleans())
    def sweep(self, patient: bool) -> None:
        patience = 3600.0 if patient else -1.0
        self.machine.sweep(max_setbacks=MAX_SETBACKS, ring_after={"cpu": patience, "gpu": patience})

    @rule()
    def take_garbage(self) -> None:
        self.taken = self.machine.take_garbage(limit=3)

    @precondition(lambda self: self.taken)
    @rule()
    def delete_garbage(self) -> None:
        self._delete(self.taken.pop())

    # What always holds

    @invariant()
    def promises_are_kept(self) -> None:
        self._units_are_in_one_place_each()
        self._jobs_move_only_as_allowed()
        self._jobs_wait_for_the_group_of_their_stage()
        self._success_means_that_everything_was_done()
        self._no_more_is_cached_than_done()
        self._what_jobs_name_is_kept()

    def _what_jobs_name_is_kept(self) -> None:
        named = {group for job in self.jobs for group in self._named_by(job)}
        for group in self._groups():
            outputs = {name.decode() for name in self.redis.smembers(f"{self.prefix}group:{group}:outputs")}
            assert outputs == set(outputs_of(group))
            for name in outputs:
                owners = {owner.decode() for owner in self.redis.smembers(f"{self.prefix}output:{name}")}
                assert owners == {f"group:{group}"}
            jobs = {job.decode() for job in self.redis.smembers(f"{self.prefix}group:{group}:jobs")}
            assert jobs == {job for job in self.jobs if group in self._named_by(job)}
            if group not in named:
                assert self.redis.sismember(f"{self.prefix}groups:unnamed", group)
        for group, unit in self.committed:
            if group in SHARED:
                assert self._blob(group, unit) in self.blobs | self.lost
                assert self.redis.exists(f"{self.prefix}columns:scores:{group.partition(':')[2]}")
        busy = {name.decode() for name in self.redis.smembers(f"{self.prefix}garbage:busy")}
        for member in self.redis.zrange(f"{self.prefix}garbage", 0, -1):
            assert member.decode() in busy or not self.redis.exists(f"{self.prefix}output:{member.decode()}")

    def _units_are_in_one_place_each(self) -> None:
        self._drop_collected()
        for group, units in self._groups().items():
            key = f"{self.prefix}group:{group}"
            todo = {int(unit) for unit in self.redis.zrange(f"{key}:todo", 0, -1)}
            leased = {int(unit) for unit in self.redis.zrange(f"{key}:leased", 0, -1)}
            done = {unit for owner, unit in self.committed if owner == group}
            assert sorted([*todo, *leased, *done]) == list(range(units))
            fields = self.redis.hgetall(key)
            assert int(fields[b"done"]) == len(done)
            assert (fields[b"state"] == b"complete") == (len(done) == units)
            total = self.redis.hgetall(f"{key}:units")
            progress = sum(int(value) for name, value in total.items() if name.startswith(b"p"))
            assert int(fields[b"progress"]) == progress <= int(fields[b"total"])

    def _jobs_move_only_as_allowed(self) -> None:
        for job in self.jobs:
            record = self.reader.get(job)
            statuses = [event.data["status"] for event in self.log.read(job, limit=10_000) if event.type == "status"]
            assert statuses[0] == "queued"
            assert statuses[-1] == record.status
            assert set(itertools.pairwise(statuses)) <= LEGAL_MOVES
            assert statuses.count("queued") == 1 + self.retries[job]
            assert (record.time("finished_at") is not None) == (record.status in TERMINAL)
            assert (record.json("error") is not None) == (record.status == "failed")
            assert record.status != "running" or record.time("started_at") is not None
        active = {member.decode() for member in self.redis.smembers(f"{self.prefix}jobs:active")}
        assert active == {job for job in self.jobs if self.reader.get(job).status not in TERMINAL}

    def _jobs_wait_for_the_group_of_their_stage(self) -> None:
        waiting = {
            job: group
            for group in self._groups()
            for member in self.redis.smembers(f"{self.prefix}group:{group}:waiters")
            for job in [member.decode()]
        }
        open_groups = {member.decode() for member in self.redis.smembers(f"{self.prefix}groups:open")}
        for job in self.jobs:
            record = self.reader.get(job)
            if record.status in ("queued", "running"):
                assert waiting[job] == record.fields["group"]
                assert waiting[job] in open_groups
            else:
                assert job not in waiting

    def _success_means_that_everything_was_done(self) -> None:
        for job in self.jobs:
            record = self.reader.get(job)
            if record.status == "succeeded":
                assert record.fields["result"] == f"of {job}"
                assert self._named_by(job) == [f"plan:{job}", self.shared_group[job], f"end:{job}"]
                # What was shared may have been lost since, and is being made again for another.
                for group in (f"plan:{job}", f"end:{job}"):
                    assert (group, 0) in self.committed

    def _no_more_is_cached_than_done(self) -> None:
        for job in self.jobs:
            for event in self.log.read(job, limit=10_000):
                if event.type == "progress":
                    assert 0 <= event.data["cached"] <= event.data["done"] <= event.data["total"]
                if event.type == "error":
                    assert event.data.get("sample_ids", ["s1"]) == ["s1"]

    # How the rules do it

    def _claim(self, bell: Doorbell) -> Claim | None:
        claim = self.machine.claim_next(bell, worker="w1", lease=LIVE)
        if claim is not None:
            group, unit = claim.group, claim.unit
            assert claim.group not in self._groups() or self._queue(group) == bell.queue
            assert (group, unit) not in self.committed
            assert int(claim.fence) > self.newest_fence.get((group, unit), 0)
            self.newest_fence[group, unit] = int(claim.fence)
            self.claims.append(claim)
        return claim

    def _finish(self, claim: Claim) -> None:
        """Commit; or, when the last stage misses what the one before made, have it made again."""
        kind, _, job = claim.group.partition(":")
        if kind == "end" and job in self.shared_group:
            shared = self.shared_group[job]
            lost = [unit for unit in range(SHARED[shared]) if self._blob(shared, unit) not in self.blobs]
            if lost:
                answer = self.machine.reopen(claim, {shared: lost}, message="it was lost", limit=1000)
                assert answer in ("ok", "stale")
                if answer == "ok":
                    for unit in lost:
                        self.committed.pop((shared, unit), None)
                return
        self._commit(claim)

    def _commit(self, claim: Claim) -> None:
        unit = (claim.group, claim.unit)
        if claim.group in SHARED and self.machine.renew(claim, lease=LIVE) != "stale":
            self.blobs.add(self._blob(*unit))
            self.lost.discard(self._blob(*unit))
        if self.machine.commit(claim, progress=self._samples(claim), outcome=self._outcome(claim.group)):
            assert unit not in self.committed
            assert self._is_current(claim)
            self.committed[unit] = claim.fence

    def _outcome(self, group: str) -> Outcome:
        kind, _, name = group.partition(":")
        if kind == "plan":
            shared = self.shared_group[name]
            units = SHARED[shared]
            scoring = Stage("scoring", shared, "gpu", "score", units, units * UNIT_SAMPLES, "{}")
            return Outcome(job={"provenance": "{}"}, stages=[scoring, self._own_stage("end", name)])
        if kind == "end":
            return Outcome(job={"result": f"of {name}"})
        return Outcome(writes=[(f"columns:scores:{name}", "0", b"x")])

    def _own_stage(self, kind: str, job: str) -> Stage:
        return Stage(kind, f"{kind}:{job}", "cpu", kind, 1, 1, json.dumps({"job": job}))

    def _samples(self, claim: Claim) -> int:
        return UNIT_SAMPLES if claim.group in SHARED else 1

    def _let_lease_run_out(self, claim: Claim) -> None:
        if self._is_current(claim):
            self.redis.zadd(f"{self.prefix}group:{claim.group}:leased", {str(claim.unit): 0}, xx=True)

    def _is_current(self, claim: Claim) -> bool:
        return self.newest_fence[claim.group, claim.unit] == int(claim.fence)

    def _blob(self, group: str, unit: int) -> str:
        return f"scorings/{group.partition(':')[2]}/{unit:06d}"

    def _named_by(self, job: str) -> list[str]:
        stages = self.redis.lrange(f"{self.prefix}job:{job}:stages", 0, -1)
        return [json.loads(stage)["group"] for stage in stages]

    def _forget(self, job: str) -> None:
        self.jobs.remove(job)
        assert list(self.redis.scan_iter(f"{self.prefix}job:{job}*")) == []

    def _drop_collected(self) -> None:
        """A group that was collected has no units any more."""
        for group, unit in list(self.committed):
            if not self.redis.exists(f"{self.prefix}group:{group}"):
                del self.committed[group, unit]

    def _groups(self) -> dict[str, int]:
        known = SHARED | {f"{kind}:{job}": 1 for job in self.jobs for kind in ("plan", "end")}
        return {group: units for group, units in known.items() if self.redis.exists(f"{self.prefix}group:{group}")}

    def _queue(self, group: str) -> str:
        return str(self.redis.hget(f"{self.prefix}group:{group}", "queue").decode())

    @staticmethod
    def _pick(items: list[T], index: int) -> T:
        return items[index % len(items)]

    def _everything_ends(self) -> None:
        """Every worker dies and every message is lost; a janitor and one good worker bring all jobs to their end."""
        for lost in self.claims:
            self._let_lease_run_out(lost)
        self.doorbells.clear()
        for _ in range(20):
            self.machine.sweep(max_setbacks=1000, ring_after={"cpu": -1.0, "gpu": -1.0})
            # What is being deleted when a janitor dies can only be made again once another has deleted it.
            self._delete_all_garbage(limit=100)
            self._let_pauses_end()
            while self.doorbells:
                bell = self.doorbells.pop()
                claim = self._claim(bell)
                if claim is not None:
                    self._commit(claim)
            if all(self.reader.get(job).status in TERMINAL for job in self.jobs):
                break
        for job in self.jobs:
            assert self.reader.get(job).status in TERMINAL, f"{job} never ends"
        self._success_means_that_everything_was_done()
        self._units_are_in_one_place_each()
        self._everything_is_deleted()

    def _delete_all_garbage(self, *, limit: int) -> None:
        for name in self.machine.take_garbage(limit=limit):
            self._delete(name)

    def _delete(self, name: str) -> None:
        self.blobs = {blob for blob in self.blobs if not blob.startswith(name)}
        self.machine.end_garbage(name)

    def _let_pauses_end(self) -> None:
        for key in self.redis.scan_iter(f"{self.prefix}group:*:later", count=1000):
            for unit, _ in self.redis.zrange(key, 0, -1, withscores=True):
                self.redis.zadd(key, {unit: 1})
                self.redis.zadd(key.removesuffix(b":later") + b":todo", {unit: 1}, xx=True)
        self.machine.sweep(max_setbacks=1000, ring_after={"cpu": -1.0, "gpu": -1.0})

    def _everything_is_deleted(self) -> None:
        """With the last job goes every key and every blob."""
        for job in list(self.jobs):
            self.machine.delete(job)
        self.machine.sweep(max_setbacks=MAX_SETBACKS, ring_after={})
        for _ in range(10):
            self._delete_all_garbage(limit=2)
        assert list(self.redis.scan_iter(f"{self.prefix}*")) == []
        assert self.blobs == set()


@pytest.mark.slow
def test_jobs_and_units_survive_any_order_of_events(redis_url: str) -> None:
    deployment: Any = partial(Deployment, redis_url)  # Any: hypothesis takes a factory, its types say a class
    run_state_machine_as_test(
        deployment,
        # Without shrinking: what the server did cannot be replayed fast enough for it.
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
