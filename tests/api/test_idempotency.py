"""A POST that is sent again with its Idempotency-Key does nothing a second time."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx2
import pytest

from minirec.client import MiniRec
from minirec.store.records import IdempotencyRecords
from tests.api.conftest import KEY, Service, selection_body
from tests.api.stand_in import StandIn
from tests.api.test_problems import assert_problem, field_errors

KEYED = {"Idempotency-Key": "k-1"}


def start(service: Service, dataset_id: str, *, headers: dict[str, str] = KEYED, **changes: Any) -> Any:
    return service.http.post("/v1/selections", json=selection_body(dataset_id, **changes), headers=headers)


def test_the_same_request_gets_the_same_answer(service: Service) -> None:
    dataset_id = service.upload()["id"]
    first, second = start(service, dataset_id), start(service, dataset_id)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert first.headers["location"] == second.headers["location"]
    assert first.headers["content-type"] == second.headers["content-type"]
    assert len(service.http.get("/v1/selections").json()["data"]) == 1
    assert len(service.doorbells) == 1


def test_without_a_key_every_request_counts(service: Service) -> None:
    dataset_id = service.upload()["id"]
    assert start(service, dataset_id, headers={}).json()["id"] != start(service, dataset_id, headers={}).json()["id"]


def test_the_order_of_fields_does_not_make_another_body(service: Service) -> None:
    dataset_id = service.upload()["id"]
    body = selection_body(dataset_id)
    first = service.http.post("/v1/selections", json=body, headers=KEYED)
    second = service.http.post("/v1/selections", json=dict(reversed(body.items())), headers=KEYED)
    assert first.content == second.content


def test_another_body_is_refused(service: Service) -> None:
    dataset_id = service.upload()["id"]
    start(service, dataset_id)
    assert_problem(start(service, dataset_id, size=7), 422, "idempotency_key_reused")


def test_a_key_belongs_to_one_route(service: Service) -> None:
    dataset_id = service.upload(headers=KEYED)["id"]
    selection_id = start(service, dataset_id).json()["id"]
    cancelled = service.http.post(f"/v1/selections/{selection_id}/cancel", headers=KEYED)
    assert (cancelled.status_code, cancelled.json()["id"]) == (202, selection_id)


def test_a_failed_request_frees_its_key(service: Service) -> None:
    dataset_id = service.upload()["id"]
    assert_problem(start(service, dataset_id, size=1000), 422, "size_too_large")
    assert start(service, dataset_id).status_code == 202


def test_a_request_that_crashed_frees_its_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset_id = service.upload()["id"]

    def broken(*args: object, **kwargs: object) -> bool:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(type(service.store.machine), "create", broken)
        assert_problem(start(service, dataset_id), 500, "internal_error")
    assert start(service, dataset_id).status_code == 202


def test_a_service_that_died_before_it_kept_its_answer_has_started_one_job(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = service.upload()["id"]
    with monkeypatch.context() as patch:
        patch.setattr(IdempotencyRecords, "finish", lambda *_: False)
        first = start(service, dataset_id)
    # Its reservation runs out.
    (reserved,) = [key for key in service.store.redis.scan_iter("*idempotency:*") if key.count(b":") == 2]
    service.store.redis.delete(reserved)
    again = start(service, dataset_id)
    assert again.json()["id"] == first.json()["id"]
    assert len(service.http.get("/v1/selections").json()["data"]) == 1
    service.store.redis.delete(reserved)
    assert start(service, dataset_id, size=2).json()["id"] != first.json()["id"], "another request"


def test_a_request_still_being_answered_is_a_conflict(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset_id = service.upload()["id"]
    create = type(service.store.machine).create
    arrived, go_on = threading.Event(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> bool:
        arrived.set()
        go_on.wait(20)
        return create(*args, **kwargs)

    monkeypatch.setattr(type(service.store.machine), "create", slow)
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(start(service, dataset_id)))
    first.start()
    assert arrived.wait(20)
    refused = start(service, dataset_id)
    assert_problem(refused, 409, "idempotency_in_progress")
    assert refused.headers["retry-after"] == "1"
    go_on.set()
    first.join(20)
    assert start(service, dataset_id).content == answers[0].content


def test_the_sdk_gets_the_answer_to_an_attempt_that_it_gave_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = service.upload()["id"]
    create = type(service.store.machine).create
    monkeypatch.setattr(
        type(service.store.machine), "create", lambda *args, **kwargs: time.sleep(2) or create(*args, **kwargs)
    )
    statuses: list[int] = []

    class Impatient(httpx2.BaseTransport):
        """Gives up the first attempt while the service still works on it."""

        first: threading.Thread | None = None

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            request.read()
            if self.first is None:
                self.first = threading.Thread(target=lambda: service.http.send(request))
                self.first.start()
                raise httpx2.ReadTimeout("slow")
            response = service.http.send(request)
            statuses.append(response.status_code)
            return response

    impatient = Impatient()
    http = httpx2.Client(transport=impatient)
    with MiniRec(base_url="http://testserver", api_key=KEY, http_client=http) as client:
        selection = client.selections.create(dataset=dataset_id, size=6, model={"source": "local", "id": "tiny"})
    assert impatient.first is not None
    impatient.first.join(20)
    assert statuses[0] == 409
    assert statuses[-1] == 202
    assert [row["id"] for row in service.http.get("/v1/selections").json()["data"]] == [selection.id]


def test_uploads_are_told_apart_by_their_content_not_their_encoding(service: Service) -> None:
    # Every attempt of a client has another multipart boundary.
    first, second = service.upload(headers=KEYED), service.upload(headers=KEYED)
    assert first == second
    assert len(service.http.get("/v1/datasets").json()["data"]) == 1
    samples, items = service.files
    other = service.http.post(
        "/v1/datasets",
        files={"samples": samples.read_bytes() + b"\n", "items": items.read_bytes()},
        headers=KEYED,
    )
    assert_problem(other, 422, "idempotency_key_reused")


def test_cancel_and_retry_replay_too(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).prepare()
    cancel, retry = (f"/v1/selections/{selection_id}/{verb}" for verb in ("cancel", "retry"))
    assert service.http.post(cancel, headers=KEYED).json()["status"] == "cancelled"
    assert service.http.post(retry, headers=KEYED).json()["status"] == "queued"
    assert service.http.post(cancel, headers=KEYED).json()["status"] == "cancelled"
    assert service.http.get(f"/v1/selections/{selection_id}").json()["status"] == "queued"


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "tab\t"])
def test_an_unfit_key_is_named(service: Service, key: str) -> None:
    problem = assert_problem(start(service, "ds_1", headers={"Idempotency-Key": key}), 422, "invalid_request")
    assert field_errors(problem)[0].loc == ["header", "Idempotency-Key"]
