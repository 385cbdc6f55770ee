"""`minirec evaluate`, and the commands that take jobs of every kind."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import JOB_KINDS, JobKind
from minirec.cli.job_views import VIEWS
from tests.unit.cli.test_commands import answer, run
from tests.unit.client.scripted_service import evaluation_json, problem

RANKING = {"samples": 64, "hr": {"5": 0.1, "10": 0.2}, "ndcg": {"5": 0.05, "10": 0.0625}}
DONE = evaluation_json("succeeded", result={"samples": 64, "ranking": RANKING}, started_at=1.0, finished_at=66.0)
RUNNING = evaluation_json("running", stage="evaluating", samples_done=3, samples_total=64)
TEXT = {"samples": 8, "reward_mean": 0.5, "pass_rate": 0.25}


def test_every_kind_of_job_can_be_shown() -> None:
    assert list(VIEWS) == [kind.name for kind in JOB_KINDS]


def test_evaluate_follows_the_job_and_says_what_came_out(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["evaluate", "ds_1", "--model", "org/model", "--adapter", "org/adapter", "--samples", "64"]
    arguments += ["--set", "rollouts.window=9", "--metadata", "run=7"]
    result, service = run(monkeypatch, arguments, answer(evaluation_json(), 202), answer(RUNNING), answer(DONE))
    assert result.exit_code == 0, result.output
    assert json.loads(service.requests[0].content) == {
        "dataset_id": "ds_1",
        "model": {"source": "hub", "id": "org/model", "adapter": {"source": "hub", "id": "org/adapter"}},
        "split": "test",
        "max_samples": 64,
        "rollouts": {"window": 9},
        "metadata": {"run": "7"},
    }
    assert "evaluating" in result.stderr
    assert "@5 0.0500   @10 0.0625" in result.stdout
    assert "64 samples, one greedy rollout of up to 256 tokens each" in result.stdout


def test_answers_to_prompts_are_shown_by_their_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"dataset_id": "ds_1", "model": {"source": "hub", "id": "o/m"}, "rewards": [{"name": "exact_answer"}]}
    done = evaluation_json("succeeded", request=request, result={"samples": 8, "text": TEXT})
    arguments = ["evaluate", "ds_1", "--model", "o/m", "--reward", "exact_answer", "--split", "all", "--no-follow"]
    result, service = run(monkeypatch, arguments, answer(done, 202))
    assert json.loads(service.requests[0].content)["split"] == "all"
    assert "exact_answer" in result.stdout
    assert "0.5000" in result.stdout
    assert "0.2500" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "method", "path"),
    [
        (["status", "evl_1"], "GET", "/v1/evaluations/evl_1"),
        (["cancel", "evl_1"], "POST", "/v1/evaluations/evl_1/cancel"),
        (["retry", "evl_1", "--no-follow"], "POST", "/v1/evaluations/evl_1/retry"),
    ],
)
def test_commands_for_jobs_know_an_evaluation_by_its_id(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], method: str, path: str
) -> None:
    result, service = run(monkeypatch, arguments, answer(RUNNING))
    assert result.exit_code == 0, result.output
    assert (service.requests[0].method, service.requests[0].url.path) == (method, path)
    assert "running" in result.stdout


def test_evaluations_are_listed_with_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    page = {"data": [RUNNING, DONE], "has_more": False}
    result, service = run(monkeypatch, ["list", "--kind", "evaluation"], answer(page))
    assert service.requests[0].url.path == "/v1/evaluations"
    assert "running: evaluating 3/64" in result.stdout
    assert "0.0625" in result.stdout


@pytest.mark.parametrize("kind", JOB_KINDS, ids=[kind.name for kind in JOB_KINDS])
def test_a_job_of_every_kind_is_deleted(monkeypatch: pytest.MonkeyPatch, kind: JobKind[Any, Any]) -> None:
    ids = [f"{kind.prefix}_1", f"{kind.prefix}_2"]
    result, service = run(monkeypatch, ["delete", *ids], httpx2.Response(204))
    assert result.exit_code == 0, result.output
    assert [(request.method, request.url.path) for request in service.requests] == [
        ("DELETE", f"{kind.path}/{job_id}") for job_id in ids
    ]
    assert result.stdout.splitlines() == [f"{job_id} deleted" for job_id in ids]


def test_what_cannot_be_deleted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = problem(409, "job_in_use", detail="trn_9 has not ended and needs sel_1")
    result, _ = run(monkeypatch, ["delete", "sel_1"], refused)
    assert result.exit_code == 1
    assert "trn_9 has not ended" in result.stderr


@pytest.mark.parametrize("command", ["status", "cancel", "retry", "delete"])
def test_an_id_of_no_job_is_refused_before_the_service_is_asked(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    result, service = run(monkeypatch, [command, "ds_1"], answer({}))
    assert result.exit_code == 2
    assert "evl_" in result.stderr
    assert service.requests == []


def test_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, ["list", "--kind", "signals"], answer({}))
    assert result.exit_code == 2
    assert "training_job" in result.stderr
