"""Two tenants on one service: what one has is not there for the other, on every route of the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from minirec.api_schemas import JOB_KINDS
from minirec.specs.base import JobSpec
from minirec.store.garbage import collect_garbage
from minirec.store.retention import expire_jobs
from minirec.store.tenants import store_of
from minirec.worker.runner import HANDLERS
from tests.api.conftest import Service, evaluation_body, selection_body, training_body
from tests.api.stand_in import EvaluationStandIn, StandIn, TrainingStandIn
from tests.api.test_keys import bearer, make

UNKNOWN = "01kb3q8x2m5v7n9p4r6t"
REWARDS = {"rewards": ("r.jsonl", b'{"sample_id": "s000", "reward": [1.0, 0.0]}\n')}
PROMPTS = {"prompts": ("p.jsonl", b'{"id": "a", "prompt": "What is 1 + 1?", "answer": "2"}\n')}


@contextmanager
def acting(service: Service, key: str) -> Iterator[Service]:
    """Send requests with a key."""
    before = dict(service.http.headers)
    service.http.headers.update(bearer(key))
    try:
        yield service
    finally:
        service.http.headers.update(before)


@pytest.fixture
def keys(service: Service) -> dict[str, str]:
    """An admin's key of each tenant."""
    return {tenant: make(service, tenant=tenant, scope="admin")["key"] for tenant in ("one", "two")}


def fill(service: Service) -> dict[str, str]:
    """Make one of everything, and return the ids by the names that paths have for them."""
    dataset_id = service.upload(data={"name": "marker-of-one"})["id"]
    selected = service.select_by_signals(dataset_id, [f"s{n:03d}" for n in range(8)])["id"]
    ids = {
        "dataset_id": dataset_id,
        "selection_id": service.select(dataset_id)["id"],
        "training_job_id": service.train(dataset_id)["id"],
        "evaluation_id": service.evaluate(dataset_id)["id"],
    }
    assert set(ids) == {"dataset_id"} | {f"{kind.name}_id" for kind in JOB_KINDS}
    hook = service.http.post("/v1/webhooks", json={"url": "https://example.com/marker-of-one"})
    ids["webhook_id"] = hook.json()["id"]
    upload = service.http.post("/v1/uploads", json={"files": {"prompts": "marker-of-one"}}).json()["id"]
    assert service.http.put(f"/v1/uploads/{upload}/prompts/0", content=b"{}").status_code == 200
    ids["upload_id"] = upload
    StandIn(service.store, ids["selection_id"]).finish()
    TrainingStandIn(service.store, ids["training_job_id"]).finish()
    EvaluationStandIn(service.store, ids["evaluation_id"]).finish()
    assert service.store.machine.cancel(selected) == "ok"
    return ids


def operations(service: Service) -> list[tuple[str, str]]:
    """The routes of what belongs to a tenant; workers are the operator's."""
    paths = service.http.get("/openapi.json").json()["paths"]
    ours = [path for path in paths if path.startswith("/v1") and path != "/v1/workers"]
    return [(method, path) for path in ours for method in paths[path]]


def put_ids(path: str, ids: dict[str, str]) -> str:
    extra = {"baseline": "random", "name": "metrics.jsonl", "sample_id": "s000", "file": "prompts", "number": "0"}
    where = re.sub(r"{(\w+)}", lambda found: (ids | extra)[found[1]], path)
    return f"{where}?format=ids" if path.endswith("/export") else where


def everything_of(service: Service, key: str, ids: dict[str, str]) -> dict[str, Any]:
    """What a tenant sees of its own, whole."""
    seen = {}
    with acting(service, key):
        for method, path in operations(service):
            if method == "get" and "{baseline}" not in path:
                response = service.http.get(put_ids(path, ids))
                assert response.status_code == 200, (path, response.text)
                seen[path] = response.content if "artifacts/" in path or "export" in path else response.text
    return seen


def test_ids_of_another_tenant_are_as_unknown_as_any_on_every_route(service: Service, keys: dict[str, str]) -> None:
    with acting(service, keys["one"]):
        ids = fill(service)
    ids["key_id"] = make(service, tenant="one")["id"]
    before = everything_of(service, keys["one"], ids)
    unknown = {name: f"{value.partition('_')[0]}_{UNKNOWN}" for name, value in ids.items()}
    tried = 0
    for key in (keys["two"], make(service, tenant="default", scope="write")["key"]):
        for method, path in operations(service):
            if "{" not in path or path.startswith("/v1/keys") and key != keys["two"]:
                continue
            answers = []
            for known in (ids, unknown):
                files = REWARDS if (method, path.rpartition("/")[2]) == ("post", "signals") else None
                body = {"parts": {"prompts": 1}} if path.endswith("/complete") else None
                response = service.http.request(
                    method, put_ids(path, known), files=files, json=body, headers=bearer(key)
                )
                assert response.status_code == 404, (method, path, response.text)
                problem = response.json()
                del problem["request_id"]
                text = json.dumps(problem)
                for name, value in known.items():
                    text = text.replace(value, name)
                answers.append(text)
            assert answers[0] == answers[1], "another's id is told apart from one that never was"
            tried += 1
    assert tried > 40
    assert everything_of(service, keys["one"], ids) == before, "and nothing was changed"


def test_lists_have_one_s_own_only(service: Service, keys: dict[str, str]) -> None:
    with acting(service, keys["one"]):
        ids = fill(service)
    default = service.upload(data={"name": "marker-of-default"})["id"]
    lists = [path for method, path in operations(service) if method == "get" and "{" not in path]
    lists.remove("/v1/rewards")  # The service's own, the same for all.
    assert len(lists) == len(("datasets", "keys", "models", "webhooks")) + len(JOB_KINDS)
    for path in lists:
        for key, who in ((keys["two"], "two"), (keys["one"], "one")):
            text = service.http.get(path, headers=bearer(key)).text
            data = json.loads(text)["data"]
            assert default not in text
            if path == "/v1/keys":
                assert {row["tenant"] for row in data} == {who}
            elif path == "/v1/webhooks":
                assert [row["id"] for row in data] == ([] if who == "two" else [ids["webhook_id"]])
            else:
                assert [row["id"] for row in data] == ([] if who == "two" else pages_of(service, path, key)), path
        assert not any(value in service.http.get(path).text for value in ids.values()), path
    assert [row["id"] for row in service.http.get("/v1/datasets").json()["data"]] == [default]
    for path in lists:
        if path in ("/v1/keys", "/v1/webhooks"):  # Short, and without pages.
            continue
        if path == "/v1/models":
            foreign = service.http.get(path, headers=bearer(keys["one"])).json()["data"][0]["id"]
            assert service.http.get(path, params={"after": foreign}, headers=bearer(keys["two"])).status_code == 422
            continue
        foreign = ids["dataset_id" if path == "/v1/datasets" else f"{path.rpartition('/')[2].removesuffix('s')}_id"]
        after = service.http.get(path, params={"after": foreign}, headers=bearer(keys["two"]))
        assert after.status_code == 422, path
        assert after.json()["code"] == "invalid_cursor"
        if path != "/v1/datasets":
            filtered = service.http.get(path, params={"dataset_id": ids["dataset_id"]}, headers=bearer(keys["two"]))
            assert filtered.json()["data"] == []
            filtered = service.http.get(path, params={"dataset_id": ids["dataset_id"]}, headers=bearer(keys["one"]))
            assert filtered.json()["data"]


def pages_of(service: Service, path: str, key: str) -> list[str]:
    """All of a list, one by one."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = service.http.get(path, params={"limit": "1"} | after, headers=bearer(key)).json()
        found += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            assert found
            return found
        after = {"after": page["next_after"]}


@pytest.mark.parametrize("path", [kind.path for kind in JOB_KINDS])
def test_a_job_starts_on_one_s_own_data_only(service: Service, keys: dict[str, str], path: str) -> None:
    with acting(service, keys["one"]):
        ids = fill(service)
    bodies = {
        "/v1/selections": [selection_body(ids["dataset_id"]), selection_body(ids["dataset_id"], signals="uploaded")],
        "/v1/training_jobs": [training_body(ids["dataset_id"]), {"selection_id": ids["selection_id"]}],
        "/v1/evaluations": [evaluation_body(ids["dataset_id"])],
    }
    bodies["/v1/selections"][1].pop("model")
    for body in bodies[path]:
        refused = service.http.post(path, json=body, headers=bearer(keys["two"]))
        assert refused.status_code == 404, refused.text
        assert service.http.post(path, json=body, headers=bearer(keys["one"])).status_code == 202


def test_the_same_rows_of_two_tenants_share_nothing(service: Service, keys: dict[str, str]) -> None:
    default = service.upload()
    found = {"default": default}
    for tenant in keys:
        with acting(service, keys[tenant]):
            found[tenant] = service.upload()
            assert service.upload()["content_hash"] == found[tenant]["content_hash"], "its own are shared"
    assert len({dataset["content_hash"] for dataset in found.values()}) == 3
    with acting(service, keys["one"]):
        service.http.delete(f"/v1/datasets/{found['one']['id']}")
        again = service.http.get("/v1/datasets").json()["data"]
        service.http.delete(f"/v1/datasets/{again[0]['id']}")
    collect_garbage(service.store)
    for tenant, there in (("one", False), ("two", True), ("default", True)):
        blob = f"datasets/{found[tenant]['content_hash']}/samples.parquet"
        assert service.store.blobs.exists(blob) is there, tenant


def test_the_same_prompts_and_signals_of_two_tenants_share_nothing(service: Service, keys: dict[str, str]) -> None:
    prompts, signals = set(), set()
    for key in keys.values():
        with acting(service, key):
            prompts.add(service.http.post("/v1/datasets", files=PROMPTS).json()["content_hash"])
            dataset_id = service.upload()["id"]
            answer = service.http.post(f"/v1/datasets/{dataset_id}/signals", files=REWARDS)
            assert answer.status_code == 201, answer.text
            signals.add(answer.json()["content_hash"])
    assert (len(prompts), len(signals)) == (2, 2)


def test_every_result_is_named_by_its_tenant_s_content_or_by_its_job() -> None:
    """What else a name were made from, two tenants could come to share."""
    for _, spec in HANDLERS.values():
        assert issubclass(spec, JobSpec) or {"content_hash", "dataset_id"} & set(spec.model_fields), spec


def test_an_idempotency_key_is_a_tenant_s_own(service: Service, keys: dict[str, str]) -> None:
    headers = {"Idempotency-Key": "the-same"}
    found = {}
    for tenant, key in keys.items():
        with acting(service, key):
            found[tenant] = service.upload(headers=headers)["id"]
            assert service.upload(headers=headers)["id"] == found[tenant]
    assert found["one"] != found["two"]


def test_metrics_and_workers_are_for_the_operator(service: Service, keys: dict[str, str]) -> None:
    for path in ("/metrics", "/v1/workers"):
        assert service.http.get(path, headers=bearer(keys["one"])).status_code == 403
    scraper = make(service, scope="read")["key"]
    assert service.http.get("/metrics", headers=bearer(scraper)).status_code == 200


def test_jobs_of_all_tenants_expire_and_leave_nothing(service: Service, keys: dict[str, str]) -> None:
    with acting(service, keys["one"]):
        ids = fill(service)
    service.select(service.upload()["id"])
    expired = expire_jobs(service.store, days=1, now=2e9 + 1e9)
    assert {ids[f"{kind.name}_id"] for kind in JOB_KINDS} <= set(expired)
    own = store_of(service.store, "one")
    assert all(own.jobs.page(kind.name, limit=5) == ([], False) for kind in JOB_KINDS)
    assert not list(service.store.redis.scan_iter("*@one", _type="zset")) or own.datasets.page(limit=5)[0]


def test_a_tenant_s_part_of_the_store_does_not_hide_the_datasets_of_others_from_retention(
    service: Service, keys: dict[str, str]
) -> None:
    with acting(service, keys["one"]):
        service.upload()
    service.upload()
    assert len(store_of(service.store, "two").datasets.all()) == 2
