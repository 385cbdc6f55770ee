"""Work that another release planned is refused by the name of that release, at once."""

from __future__ import annotations

import json

import pytest

from minirec.specs import ScoreSpec
from minirec.store.ids import new_id
from minirec.store.machine import Stage
from tests.worker.bench import Bench

LATER = json.dumps({"version": "99", "release": "7.8.9", "spec": {"job_id": "sel_1"}})


@pytest.mark.parametrize(
    ("handler", "spec", "says"),
    [
        ("prepare", LATER, "written by MiniRec 7.8.9 and has version 99"),
        ("prepare", '{"selection_id": "sel_1"}', "written by a release of MiniRec that did not name itself yet"),
        ("score_prompts", '{"name": "abc", "rollouts": {}}', "no handler 'score_prompts'"),
        ("distil", LATER, "planned by MiniRec 7.8.9"),
    ],
)
def test_a_job_that_another_release_planned_fails_at_once(bench: Bench, handler: str, spec: str, says: str) -> None:
    job = new_id("sel")
    stage = Stage("preparing", f"prepare:{job}", "cpu", handler, 1, 1, spec)
    bench.store.machine.create(job, "selection", {"request": "{}", "dataset_id": bench.dataset_id}, [stage])
    assert bench.hear() == ["failed"]
    error = bench.store.jobs.get(job).json("error")
    assert (error["code"], error["stage"]) == ("unknown_spec_version", "preparing")
    assert error["retryable"] is False
    assert says in error["message"]
    assert "start" in error["message"], "and what to do"


def test_scores_that_another_release_made_are_refused_when_they_are_read(bench: Bench) -> None:
    job = bench.create()
    bench.hear()
    name = bench.store.jobs.get(job).json("provenance")["scoring_fingerprint"]
    group = f"{bench.store.prefix}group:{ScoreSpec.HANDLER}:{name}"
    bench.store.redis.hset(group, "spec", LATER)
    again = bench.create(size=5)
    bench.hear()
    error = bench.store.jobs.get(again).json("error")
    assert (error["code"], error["stage"]) == ("unknown_spec_version", "selecting")
