"""Lists find what they are asked for: datasets by name and content, jobs by metadata, models, rewards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minirec.api_schemas import JOB_KINDS
from minirec.rewards import known_rewards
from tests.api.conftest import Service
from tests.api.stand_in import TrainingStandIn
from tests.api.test_keys import bearer, make
from tests.api.test_tenants import acting


def ids(service: Service, path: str, **params: Any) -> list[str]:
    response = service.http.get(path, params=params)
    assert response.status_code == 200, response.text
    return [row["id"] for row in response.json()["data"]]


def test_datasets_are_found_by_their_exact_name(service: Service) -> None:
    made = [service.upload(data={"name": name})["id"] for name in ("movies", "movies 2", "movies")]
    assert ids(service, "/v1/datasets", name="movies") == [made[2], made[0]]
    assert ids(service, "/v1/datasets", name="Movies") == []
    page = service.http.get("/v1/datasets", params={"name": "movies", "limit": 1}).json()
    assert (page["has_more"], page["next_after"]) == (True, made[2])
    assert ids(service, "/v1/datasets", name="movies", limit=1, after=made[2]) == [made[0]]


def test_the_same_rows_are_found_again_and_by_one_tenant_only(service: Service) -> None:
    first, second, third = (service.upload(data={"name": name}) for name in ("a", "b", "c"))
    assert (first["same_as"], second["same_as"], third["same_as"]) == (None, first["id"], first["id"])
    assert service.upload_prompts()["same_as"] is None
    assert service.http.get(f"/v1/datasets/{second['id']}").json()["same_as"] == first["id"]
    content = first["content_hash"]
    assert ids(service, "/v1/datasets", content_hash=content) == [third["id"], second["id"], first["id"]]
    with acting(service, make(service, tenant="two", scope="write")["key"]):
        assert service.upload()["same_as"] is None
        assert ids(service, "/v1/datasets", content_hash=content) == []
    service.http.delete(f"/v1/datasets/{first['id']}")
    assert service.upload()["same_as"] == second["id"]


@pytest.mark.parametrize("path", [kind.path for kind in JOB_KINDS])
def test_jobs_are_found_by_their_metadata(service: Service, path: str) -> None:
    dataset_id = service.upload()["id"]
    start = {"/v1/selections": service.select, "/v1/training_jobs": service.train, "/v1/evaluations": service.evaluate}
    labels: tuple[dict[str, str], ...] = ({"run": "first", "team é": "a[b]"}, {"run": "second"}, {}, {"run": "first"})
    made = [start[path](dataset_id, metadata=metadata)["id"] for metadata in labels]
    # As a release without the field stored it.
    service.store.redis.hdel(f"{service.store.prefix}job:{made[0]}", "metadata", "used_model")
    assert ids(service, path, **{"metadata[run]": "first"}) == [made[3], made[0]]
    assert ids(service, path, **{"metadata[run]": "first", "metadata[team é]": "a[b]"}) == [made[0]]
    assert ids(service, path, **{"metadata[run]": "third"}) == []
    assert ids(service, path, **{"metadata[run]": "first", "limit": 1, "after": made[3]}) == [made[0]]
    assert ids(service, path, **{"metadata[run]": "first", "status": "cancelled"}) == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("metadata=first", "is not known here"),
        ("metadata[run=first", "is not known here"),
        ("metadata[run]=a&metadata[run]=b", "more than once"),
        ("status=queued&status=running", "more than once"),
        ("limit=1&limit=1", "more than once"),
        (f"metadata[{'x' * 65}]=a", "64"),
        (f"metadata[run]={'x' * 513}", "512"),
        ("&".join(f"metadata[{n}]=a" for n in range(17)), "16"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(service: Service, query: str, says: str) -> None:
    refused = service.http.get(f"/v1/selections?{query}")
    assert refused.status_code == 422, refused.text
    assert says in refused.json()["detail"]


def test_models_are_what_jobs_used_and_what_training_left(service: Service) -> None:
    dataset_id = service.upload()["id"]
    adapter = {"source": "local", "id": "tiny-lora"}
    tiny, other = {"source": "local", "id": "tiny"}, {"source": "local", "id": "other", "dtype": "float32"}
    made = service.select(dataset_id)["id"]
    service.store.redis.hdel(f"{service.store.prefix}job:{made}", "metadata", "used_model")
    service.evaluate(dataset_id, model=other)
    service.evaluate(dataset_id, model=other | {"dtype": "auto"})
    service.select(dataset_id, proxy=adapter)
    trained = service.train(dataset_id)["id"]
    failed = service.train(dataset_id)["id"]
    service.store.machine.cancel(failed)
    TrainingStandIn(service.store, trained).finish()

    rows = service.http.get("/v1/models").json()["data"]
    seen = [(row["model"]["id"], (row["model"]["adapter"] or {}).get("id"), row["jobs"]) for row in rows]
    assert seen == [("tiny", None, 1), ("tiny", "tiny-lora", 1), ("other", None, 2), ("tiny", None, 3)]
    assert [row["training_job_id"] for row in rows] == [trained, None, None, None]
    assert rows[2]["last_used_at"] > rows[2]["created_at"]
    assert tiny.items() <= rows[3]["model"].items()

    found, after = [], None
    while True:
        page = service.http.get("/v1/models", params={"limit": 1} | ({"after": after} if after else {})).json()
        found += page["data"]
        if not page["has_more"]:
            break
        after = page["next_after"]
    assert found == rows
    assert service.http.get("/v1/models", params={"after": "mdl_0"}).json()["code"] == "invalid_cursor"

    other_tenant = bearer(make(service, tenant="two", scope="read")["key"])
    assert service.http.get("/v1/models", headers=other_tenant).json()["data"] == []
    service.http.delete(f"/v1/training_jobs/{trained}")
    assert trained not in service.http.get("/v1/models").text


def test_rewards_say_what_they_take_and_need(service: Service) -> None:
    page = service.http.get("/v1/rewards").json()
    rows = {row["name"]: row for row in page["data"]}
    assert list(rows) == known_rewards()
    assert not page["has_more"]
    exact = rows["exact_answer"]
    assert (exact["built_in"], exact["needs_answer"], exact["error"]) == (True, True, None)
    assert exact["summary"].startswith("1 if the completion's answer is a right one")
    assert exact["parameters"]["weight"]["default"] == 1.0
    assert exact["parameters"]["weight"]["description"]
    assert list(exact["parameters"]) == ["weight"]
    prompts = service.upload_prompts()["id"]
    asked = {"rewards": [{"name": name} for name in rows], "size": 1, "curriculum": {"group_size": 1}}
    response = service.http.post(
        "/v1/selections", json={"dataset_id": prompts, "model": {"source": "local", "id": "tiny"}} | asked
    )
    assert response.status_code == 202, json.dumps(response.json())
