"""`minirec train`, `download`, and the commands that take jobs of either kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.unit.cli.test_commands import answer, run
from tests.unit.client.scripted_service import event_json, selection_json, sse, training_job_json
from tests.unit.client.test_client_resources import DATASET

RANKING = {"samples": 64, "hr": {"5": 0.1, "10": 0.2, "20": 0.3, "50": 0.4}}
RESULT = {
    "updates": 20,
    "samples_seen": 160,
    "stopped_early": True,
    "best_update": 8,
    "valid_ndcg10": 0.1234,
    "test_before": RANKING | {"ndcg": {"5": 0.01, "10": 0.02, "20": 0.03, "50": 0.04}},
    "test_after": RANKING | {"ndcg": {"5": 0.05, "10": 0.06, "20": 0.07, "50": 0.08}},
}
DONE = training_job_json("succeeded", result=RESULT, started_at=1.0, finished_at=66.0)
TEXT_REWARDS = [{"name": "exact_title"}, {"name": "token_f1", "weight": 0.5}]
NUMBERS = {"loss": 0.5, "reward_mean": 0.25, "ndcg10": 0.125}
EVENTS = [
    event_json(1, "stage", stage="training", total=20),
    event_json(2, "metrics", update=1, **NUMBERS),
    event_json(3, "metrics", update=2, **NUMBERS),
    event_json(4, "evaluation", split="valid", update=2, ndcg10=0.1, hr10=0.2),
    event_json(5, "warning", message="[odd] one"),
    event_json(6, "retry", attempt=1, reason="the worker was lost"),
    event_json(7, "status", status="succeeded"),
]


def stream(*events: dict[str, Any]) -> httpx2.Response:
    return httpx2.Response(200, content=sse(*events), headers={"content-type": "text/event-stream"})


def test_train_follows_the_job_and_says_what_came_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = ["train", "sel_1", "--updates", "20", "--set", "grpo.learning_rate=0.001"]
    arguments += ["--set", "evaluation.valid_samples=16", "-o", str(tmp_path / "adapter")]
    listed = {"data": [{"name": "train.log", "bytes": 5}], "has_more": False}
    result, service = run(
        monkeypatch,
        arguments,
        answer(selection_json("succeeded")),
        answer(DATASET),
        answer(training_job_json(), 202),
        answer(training_job_json(waiting={"ahead": 2, "workers": 1})),
        stream(*EVENTS),
        answer(DONE),
        answer(listed),
        httpx2.Response(200, content=b"done\n"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(service.requests[2].content) == {
        "selection_id": "sel_1",
        "trainer": "rec_grpo",
        "args": {"updates": 20, "grpo": {"learning_rate": 0.001}},
        "evaluation": {"valid_samples": 16},
    }
    assert "waiting: 2 ahead in the queue" in result.stderr
    assert "update 2/20: loss 0.500  reward 0.250  NDCG@10 0.125" in result.stderr
    assert "update 1/20" not in result.stderr, "a line for every tenth is enough"
    assert "valid after 2 updates: NDCG@10 0.1000, HR@10 0.2000" in result.stderr
    assert "[odd] one" in result.stderr
    assert "attempt 1 ended (the worker was lost)" in result.stderr
    assert "after 8 updates, NDCG@10 0.1234" in result.stdout
    assert "0.0200 before, 0.0600 after" in result.stdout
    assert "20, stopped early" in result.stdout
    assert (tmp_path / "adapter" / "train.log").read_bytes() == b"done\n"


def test_an_adapter_that_changes_nothing_is_not_passed_off_as_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "no update was better than the model as it was: the adapter changes nothing"
    found = RESULT | {"best_update": 0, "improved": False, "warnings": [warning]}
    job = training_job_json("succeeded", result=found, started_at=1.0, finished_at=66.0)
    shown, _ = run(monkeypatch, ["status", job["id"]], answer(job))
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.stdout.split())
    assert "none was better than the model as it was" in words
    assert warning in words


def test_train_can_leave_the_job_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["train", "sel_1", "--trainer", "rec_grpo", "--no-follow", "--json"]
    result, service = run(monkeypatch, arguments, answer(training_job_json(), 202))
    assert json.loads(result.stdout)["id"] == "trn_1"
    assert len(service.requests) == 1, "a trainer that was named need not be found"
    refused, _ = run(monkeypatch, ["train", "sel_1", "--no-follow", "-o", "x"], answer({}))
    assert refused.exit_code == 2


def test_a_selection_from_prompts_is_trained_on_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"selection_id": "sel_1", "trainer": "text_grpo", "args": {"rewards": TEXT_REWARDS}}
    result, service = run(
        monkeypatch,
        ["train", "sel_1", "--reward", "exact_title", "--reward", "token_f1=0.5", "--no-follow"],
        answer(selection_json("succeeded")),
        answer(DATASET | {"kind": "prompts"}),
        answer(training_job_json(request=request), 202),
    )
    assert result.exit_code == 0, result.output
    assert [request.url.path for request in service.requests[:2]] == ["/v1/selections/sel_1", "/v1/datasets/ds_1"]
    assert json.loads(service.requests[2].content) == request
    assert "text_grpo" in result.stdout
    assert "exact_title + 0.5 token_f1" in result.stdout


def test_a_setting_of_no_section_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, ["train", "sel_1", "--set", "weights.alpha=1"], answer({}))
    assert result.exit_code == 2
    assert "grpo, rollouts, early_stopping, evaluation" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "method", "path"),
    [
        (["status", "trn_1"], "GET", "/v1/training_jobs/trn_1"),
        (["cancel", "trn_1"], "POST", "/v1/training_jobs/trn_1/cancel"),
        (["retry", "trn_1", "--no-follow"], "POST", "/v1/training_jobs/trn_1/retry"),
    ],
)
def test_commands_for_jobs_know_a_training_job_by_its_id(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], method: str, path: str
) -> None:
    running = training_job_json("running", stage="training", updates_done=3, updates_total=9)
    result, service = run(monkeypatch, arguments, answer(running))
    assert result.exit_code == 0, result.output
    assert (service.requests[0].method, service.requests[0].url.path) == (method, path)
    assert "running" in result.stdout


def test_training_jobs_are_listed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    running = training_job_json("running", stage="training", updates_done=3, updates_total=9)
    page = {"data": [running, DONE], "has_more": False}
    result, service = run(monkeypatch, ["list", "--training"], answer(page))
    assert service.requests[0].url.path == "/v1/training_jobs"
    assert "running: training 3/9" in result.stdout
    assert "0.0600" in result.stdout


def test_a_failed_training_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = training_job_json("failed", error={"code": "worker_lost", "message": "lost"})
    ended = stream(event_json(1, "status", status="failed"))
    result, _ = run(monkeypatch, ["status", "trn_1", "--follow"], answer(failed), ended, answer(failed))
    assert result.exit_code == 1
    assert "minirec retry trn_1" in result.stderr
