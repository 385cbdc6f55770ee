"""What the commands say of jobs that wait, share their work, or have been running for a while, and what they cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.unit.cli.test_commands import RESULT, answer, run
from tests.unit.client.scripted_service import evaluation_json, selection_json

STARTS = time.mktime(time.strptime("2031-05-06 14:35", "%Y-%m-%d %H:%M"))


def running(stage: str, scored: int, **changes: Any) -> dict[str, Any]:
    counts = {"total": 200, "scored": scored, "cached": 50 if scored else 0}
    return selection_json("running", stage=stage, counts=counts, **changes)


def done(**changes: Any) -> dict[str, Any]:
    counts = {"total": 128, "scored": 128, "cached": 28}
    return selection_json("succeeded", result=RESULT, started_at=1.0, finished_at=66.0, counts=counts, **changes)


def test_following_says_from_the_first_second_what_a_job_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [
        selection_json(waiting={"ahead": 2, "workers": 1}),
        selection_json(waiting={"ahead": 1, "workers": 1, "starts_at": STARTS}),
        running("embedding_catalogue", 60, stage_finish=STARTS),
        running("scoring", 0, waiting={"ahead": 0, "workers": 1}),
        running("scoring", 100, estimated_finish=STARTS, shared_with=["sel_7"]),
        running("scoring", 120, waiting={"ahead": 0, "workers": 1}),
    ]
    result, _ = run(monkeypatch, ["status", "sel_1", "--follow"], *map(answer, steps), answer(done()))
    assert result.exit_code == 0, result.output
    said = result.stderr.splitlines()
    assert said[0] == "waiting: 2 ahead in the queue"
    assert "waiting: 1 ahead in the queue, starts at about Tue 14:35" in said
    assert "waiting: next in the queue" in said
    assert "embedding catalogue 60/200, this stage until about Tue 14:35" in said
    assert "shares this work with sel_7: it is done once for all of them" in said
    assert "scoring 100/200, done at about Tue 14:35" in said
    assert sum(line.startswith("waiting") for line in said) == 3, "a moment between two shards is no waiting"


def test_a_job_that_no_worker_takes_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = evaluation_json(waiting={"ahead": 0, "workers": 0})
    ended = evaluation_json("failed", error={"code": "worker_lost", "message": "lost"})
    result, _ = run(monkeypatch, ["status", "evl_1", "--follow"], answer(stuck), answer(ended))
    assert "waiting: no worker takes this work; minirec doctor says more" in result.stderr
    result, _ = run(monkeypatch, ["status", "evl_1"], answer(stuck))
    assert "no worker takes this work" in result.stdout


def test_who_comes_later_hears_how_long_it_has_been_running(monkeypatch: pytest.MonkeyPatch) -> None:
    late = running("scoring", 100, started_at=time.time() - 720)
    result, _ = run(monkeypatch, ["status", "sel_1", "--follow"], answer(late), answer(done()))
    assert "it has been running for 12 min" in result.stderr
    fresh = running("scoring", 100, started_at=time.time())
    result, _ = run(monkeypatch, ["status", "sel_1", "--follow"], answer(fresh), answer(done()))
    assert "has been running" not in result.stderr


def test_a_job_says_what_it_has_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, ["selections", "show", "sel_1"], answer(done(worker_seconds=125.0)))
    shown = " ".join(result.stdout.split())
    assert "400 rollouts of up to 256 tokens (28 samples scored before), 2 min 5 s of workers' time" in shown
    going = running("scoring", 60, worker_seconds=4.0, estimated_finish=time.time() + 90)
    result, _ = run(monkeypatch, ["selections", "show", "sel_1"], answer(going))
    assert "40 rollouts" in result.stdout
    assert "in 1 min 30 s" in result.stdout
    result, _ = run(monkeypatch, ["selections", "show", "sel_1"], answer(running("embedding_catalogue", 60)))
    assert "rollouts" not in result.stdout, "items are no samples"
    result, _ = run(monkeypatch, ["status", "sel_1"], answer(running("embedding_catalogue", 60, stage_finish=STARTS)))
    assert "this stage until about Tue 14:35" in " ".join(result.stdout.split())
