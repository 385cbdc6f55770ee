"""Signals through REST: rewards from elsewhere, checked, kept, and ready to select by."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from minirec.store.garbage import collect_garbage
from tests.api.conftest import Service, selection_body
from tests.api.test_problems import assert_problem


def rewards(count: int = 48) -> bytes:
    values = {n: [n / 100, 0.0] for n in range(count)}
    rows = [{"sample_id": f"s{n:03d}", "reward": value, "ndcg": value} for n, value in values.items()]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def post(service: Service, dataset_id: str, **files: bytes) -> Any:
    named = {part: (part, content) for part, content in files.items()}
    return service.http.post(f"/v1/datasets/{dataset_id}/signals", files=named)


def test_rewards_and_vectors_are_kept_for_the_dataset(service: Service) -> None:
    dataset_id = service.upload()["id"]
    array = io.BytesIO()
    np.save(array, np.ones((48, 3), dtype=np.float32))
    response = post(service, dataset_id, rewards=rewards(), vectors=array.getvalue())
    assert response.status_code == 201, response.text
    signals = response.json()
    assert (signals["n_samples"], signals["rollouts"], signals["vector_size"]) == (48, 2, 3)
    assert signals["has_hits"]
    assert service.http.get(f"/v1/datasets/{dataset_id}/signals").json() == signals
    stored = service.store.blobs.get_arrays(f"signals/{signals['content_hash']}.safetensors")
    assert stored["rewards"][47].tolist() == [0.47, 0.0]


def test_faults_name_file_and_line(service: Service) -> None:
    dataset_id = service.upload()["id"]
    response = post(service, dataset_id, rewards=rewards(2) + rewards(1))
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid_signals"
    assert problem["errors"][0] == {
        "file": "rewards",
        "line": 3,
        "field": "sample_id",
        "msg": '"s000" is on line 1 already',
    }
    assert service.http.get(f"/v1/datasets/{dataset_id}/signals").status_code == 404


def test_parts_are_checked_before_they_are_read(service: Service) -> None:
    dataset_id = service.upload()["id"]
    response = post(service, dataset_id, vectors=b"", rubbish=b"")
    assert response.status_code == 422
    assert {error["loc"][1] for error in response.json()["errors"]} == {"rewards", "rubbish"}
    assert post(service, "ds_0", rewards=rewards()).status_code == 404


def test_selecting_by_signals_needs_some_and_no_model(service: Service) -> None:
    dataset_id = service.upload()["id"]
    body = selection_body(dataset_id, signals="uploaded")
    both = service.http.post("/v1/selections", json=body)
    assert both.status_code == 422
    assert "leave out model" in both.text
    del body["model"]
    assert service.http.post("/v1/selections", json=body).json()["code"] == "no_signals"
    post(service, dataset_id, rewards=rewards())
    assert service.http.post("/v1/selections", json=body).status_code == 202


def test_deleting_the_dataset_forgets_its_signals(service: Service) -> None:
    dataset_id = service.upload()["id"]
    post(service, dataset_id, rewards=rewards())
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200
    assert service.store.signals.get(dataset_id) is None


def signals_blobs(service: Service) -> list[str]:
    """Blobs of signals, once the janitor has deleted what nobody keeps."""
    collect_garbage(service.store)
    return [name for name in service.store.blobs.all_names() if name.startswith("signals/") and "crc32" not in name]


def test_signals_are_deleted_and_deleting_them_again_is_fine(service: Service) -> None:
    dataset_id = service.upload()["id"]
    post(service, dataset_id, rewards=rewards())
    assert signals_blobs(service) != []
    for _ in range(2):
        assert service.http.delete(f"/v1/datasets/{dataset_id}/signals").status_code == 204
        assert_problem(service.http.get(f"/v1/datasets/{dataset_id}/signals"), 404, "no_signals")
        assert signals_blobs(service) == []
    other = "ds_00000000000000000000"
    assert_problem(service.http.delete(f"/v1/datasets/{other}/signals"), 404, "dataset_not_found")


def test_signals_that_a_selection_needs_are_not_deleted(service: Service) -> None:
    dataset_id = service.upload()["id"]
    post(service, dataset_id, rewards=rewards())
    body = {"dataset_id": dataset_id, "signals": "uploaded", "size": 5}
    selection_id = service.http.post("/v1/selections", json=body).json()["id"]
    problem = assert_problem(service.http.delete(f"/v1/datasets/{dataset_id}/signals"), 409, "signals_in_use")
    assert selection_id in problem.detail
    service.http.post(f"/v1/selections/{selection_id}/cancel")
    assert service.http.delete(f"/v1/datasets/{dataset_id}/signals").status_code == 204


def test_signals_that_are_replaced_go_unless_another_dataset_has_them(service: Service) -> None:
    first, second = service.upload()["id"], service.upload()["id"]
    for dataset_id in (first, second):
        post(service, dataset_id, rewards=rewards())
    assert len(signals_blobs(service)) == 1
    post(service, first, rewards=rewards(40))
    assert len(signals_blobs(service)) == 2
    service.http.delete(f"/v1/datasets/{second}/signals")
    assert len(signals_blobs(service)) == 1
    service.http.delete(f"/v1/datasets/{first}")
    assert signals_blobs(service) == []
