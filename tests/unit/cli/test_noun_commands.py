"""Nouns with verbs, names in place of ids, and tables on a narrow screen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from minirec.cli import output
from tests.unit.cli.test_commands import answer, run
from tests.unit.client.scripted_service import evaluation_json, problem, selection_json, training_job_json
from tests.unit.client.test_client_resources import DATASET

ID = "sel_01kb3q8x2m5v7n9p4r6t"


def service(**lists: list[dict[str, Any]]) -> Callable[[httpx2.Request], httpx2.Response]:
    """Answer lists by their path, and any one object by the first of its list; deletions by nothing."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        _, _, kind, *rest = request.url.path.split("/")
        found = lists.get(kind, [])
        if request.method == "DELETE":
            return answer({"id": rest[0], "deleted": True}) if kind == "datasets" else httpx2.Response(204)
        if rest:
            return answer(next((each for each in found if each["id"] == rest[0]), None) or {})
        for field in ("dataset_id", "name"):  # Lists are filtered by these, as the service does it.
            if (wanted := request.url.params.get(field)) is not None:
                found = [each for each in found if each.get(field) == wanted]
        return answer({"data": found, "has_more": False})

    return respond


BOOKS = [DATASET | {"id": f"ds_{number}", "name": name} for number, name in enumerate(("books", "books", "films"))]


def test_jobs_of_all_kinds_are_listed_together_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    there = service(
        selections=[selection_json(id="sel_3", created_at=30.0), selection_json(id="sel_1", created_at=10.0)],
        training_jobs=[training_job_json(created_at=20.0)],
        evaluations=[evaluation_json(created_at=40.0)],
    )
    result, _ = run(monkeypatch, ["jobs", "list", "--json", "--limit", "3"], there)
    assert [job["id"] for job in json.loads(result.stdout)] == ["evl_1", "sel_3", "trn_1"]
    result, script = run(monkeypatch, ["jobs", "list", "--kind", "training_job", "--status", "queued"], there)
    assert "training job" in result.stdout
    assert [request.url.path for request in script.requests] == ["/v1/training_jobs"]
    result, _ = run(monkeypatch, ["jobs", "list", "--json"], service())
    assert json.loads(result.stdout) == []


def test_selections_have_their_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, method, path in (
        (["cancel", "sel_1"], "POST", "/v1/selections/sel_1/cancel"),
        (["retry", "sel_1", "--no-follow"], "POST", "/v1/selections/sel_1/retry"),
        (["show", "sel_1"], "GET", "/v1/selections/sel_1"),
    ):
        result, script = run(monkeypatch, ["selections", *arguments, "--json"], answer(selection_json()))
        assert json.loads(result.stdout)["id"] == "sel_1", result.output
        assert (script.requests[0].method, script.requests[0].url.path) == (method, path)
    result, script = run(monkeypatch, ["selections", "delete", "sel_1", "sel_2", "--json"], httpx2.Response(204))
    assert [gone["id"] for gone in json.loads(result.stdout)] == ["sel_1", "sel_2"]
    assert [request.url.path for request in script.requests] == ["/v1/selections/sel_1", "/v1/selections/sel_2"]


def test_an_exact_name_of_a_dataset_does_as_well_as_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    there = service(datasets=BOOKS, selections=[selection_json(dataset_id="ds_2")])
    result, _ = run(monkeypatch, ["datasets", "show", "films", "--json"], there)
    assert json.loads(result.stdout)["id"] == "ds_2"
    result, script = run(monkeypatch, ["datasets", "delete", "films", "--json"], there)
    assert json.loads(result.stdout) == {"id": "ds_2", "deleted": True}
    assert script.requests[-1].url.path == "/v1/datasets/ds_2"
    result, script = run(monkeypatch, ["selections", "list", "--dataset", "films"], there)
    assert script.requests[-1].url.params["dataset_id"] == "ds_2"
    result, _ = run(monkeypatch, ["selections", "show", "films", "--json"], there)
    assert json.loads(result.stdout)["id"] == "sel_1"


def test_which_of_several_is_meant_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [selection_json(id=f"sel_{number}", dataset_id="ds_2") for number in range(12)]
    there = service(datasets=BOOKS, selections=several)
    result, script = run(monkeypatch, ["datasets", "delete", "books"], there)
    assert result.exit_code == 1
    assert all(part in result.stderr for part in ("2 datasets have the name 'books'", "ds_0", "ds_1"))
    assert [request.method for request in script.requests] == ["GET"], "nothing was deleted"
    result, _ = run(monkeypatch, ["scores", "films"], there)
    assert result.exit_code == 1
    assert all(part in result.stderr for part in ("12 selections were made from 'films'", "sel_9", "and 2 more"))
    result, _ = run(monkeypatch, ["evaluate", "book", "--model", "org/model"], there)
    assert "'book' is neither the id nor the name of a dataset; did you mean 'books'?" in result.stderr
    result, _ = run(monkeypatch, ["subset", "films"], service(datasets=BOOKS))
    assert "nothing was selected from the dataset 'films'" in result.stderr


def test_a_refused_deletion_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = problem(409, code="job_not_finished", detail="sel_1 is running")
    result, _ = run(monkeypatch, ["selections", "delete", "sel_1", "--json"], refused)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "sel_1 is running" in result.stderr


def test_lists_keep_their_ids_whole_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for console in (output.notes, output.results):
        monkeypatch.setattr(console, "width", 80)
    counts = {"total": 101_092, "scored": 12_345}
    running = selection_json(
        "running", id=ID, stage="embedding_catalogue", counts=counts, created_at=time.time() - 86_400 * 3
    )
    running["request"]["model"]["id"] = "Qwen/Qwen2.5-0.5B-Instruct"
    for noun in ("selections", "jobs"):
        result, _ = run(monkeypatch, [noun, "list"], service(selections=[running]))
        lines = result.stdout.splitlines()
        assert lines[1].startswith(ID)
        assert all(len(line.rstrip()) <= 80 for line in lines)
        assert len(lines) <= 4, result.stdout
        assert "embedding" in result.stdout
        assert "12%" in result.stdout
        assert "3 d ago" in result.stdout


def test_models_are_listed_with_their_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(number: int, **about: Any) -> dict[str, Any]:
        model = {"source": "hub", "id": f"o/m{number}", "revision": None, "adapter": None, "dtype": "auto"}
        times = {"created_at": time.time(), "last_used_at": time.time() - 3600}
        return {"id": str(number), "object": "model", "model": model | about, "jobs": 1200, **times}

    adapter = {"source": "local", "id": "ours", "revision": None}
    trained = used(3) | {"training_job_id": "trn_1"}
    there = service(models=[used(1, revision="main"), used(2, adapter=adapter), trained])
    result, _ = run(monkeypatch, ["models", "list"], there)
    first, second, third = [line for line in result.stdout.splitlines() if "o/m" in line]
    assert first.split()[:2] == ["o/m1@main", "1,200"]
    assert "o/m2 + ours" in second
    assert third.split()[:2] == ["o/m3", "trn_1"]
    result, _ = run(monkeypatch, ["models", "list", "--json", "--limit", "2"], there)
    assert [model["model"]["id"] for model in json.loads(result.stdout)] == ["o/m1", "o/m2"]
