"""Lists of jobs read what they show."""

from __future__ import annotations

from typing import Any, cast

import pytest

from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.machine import Stage

JOBS = 30


@pytest.fixture
def many(store: Store) -> Store:
    """A store with jobs sel_00 to sel_29, in which every third is on ds_b and every second was cancelled."""
    for n in range(JOBS):
        job = f"sel_{n:02d}"
        fields = {"dataset_id": "ds_b" if n % 3 == 0 else "ds_a", "request": "x" * 1000}
        stage = Stage("preparing", f"prepare:{job}", "cpu", "prepare", 1, 1, "{}")
        store.machine.create(job, "selection", fields, [stage])
        if n % 2 == 0:
            store.machine.cancel(job)
    return store


def calls(store: Store) -> dict[str, int]:
    stats = cast("dict[str, dict[str, Any]]", store.redis.info("commandstats"))
    return {name.removeprefix("cmdstat_"): int(values["calls"]) for name, values in stats.items()}


def ids(store: Store, **options: Any) -> tuple[list[str], bool]:
    records, more = store.jobs.page("selection", **options)
    return [record.id for record in records], more


def test_a_page_reads_as_many_jobs_as_it_has(many: Store) -> None:
    before = calls(many)
    assert ids(many, limit=1) == (["sel_29"], True)
    after = calls(many)
    assert after.get("hgetall", 0) - before.get("hgetall", 0) == 1
    assert after["hmget"] - before.get("hmget", 0) == 1


def test_a_filtered_page_reads_whole_only_what_it_shows(many: Store) -> None:
    before = calls(many)
    assert ids(many, limit=2, status="cancelled", dataset_id="ds_b") == (["sel_24", "sel_18"], True)
    after = calls(many)
    assert after["hgetall"] - before.get("hgetall", 0) == 2


def test_pages_follow_one_another_without_gap_or_repetition(many: Store) -> None:
    seen: list[str] = []
    after, more = None, True
    while more:
        page, more = ids(many, limit=7, after=after)
        seen += page
        after = page[-1]
    assert seen == [f"sel_{n:02d}" for n in reversed(range(JOBS))]
    assert ids(many, limit=30) == (seen, False)
    with pytest.raises(NotFoundError, match="sel_99"):
        ids(many, limit=1, after="sel_99")


def test_filtered_pages_go_through_all_jobs(many: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minirec.store.jobs.PAGE", 4)
    assert ids(many, limit=10, dataset_id="ds_b") == ([f"sel_{n:02d}" for n in range(27, -1, -3)], False)
    assert ids(many, limit=5, dataset_id="ds_c") == ([], False)


def test_a_job_that_was_added_while_a_list_is_read_repeats_nothing(
    many: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minirec.store.jobs.PAGE", 4)
    read = many.jobs._with_fields

    def adding(jobs: list[str], wanted: Any) -> list[str]:
        stage = Stage("preparing", f"prepare:{len(added)}", "cpu", "prepare", 1, 1, "{}")
        many.machine.create(f"sel_new{len(added)}", "selection", {"dataset_id": "ds_b"}, [stage])
        added.append(1)
        return read(jobs, wanted)

    added: list[int] = []
    monkeypatch.setattr(many.jobs, "_with_fields", adding)
    assert ids(many, limit=20, dataset_id="ds_b")[0] == [f"sel_{n:02d}" for n in range(27, -1, -3)]


def test_states_of_active_jobs_are_read_without_their_requests(many: Store) -> None:
    before = calls(many)
    assert sorted(many.jobs.active_states()) == [("selection", "queued")] * (JOBS // 2)
    assert calls(many).get("hgetall", 0) == before.get("hgetall", 0)
    assert len(list(many.jobs.active())) == JOBS // 2
