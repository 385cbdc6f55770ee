"""Which answers are asked for again, after how long, and under which key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from minirec.client import APIConnectionError, APIStatusError, APITimeoutError, ConflictError, MiniRec
from tests.unit.client.scripted_service import Script, problem, selection_json

pytestmark = pytest.mark.usefixtures("both_clients")

OK = httpx2.Response(200, json=selection_json())


def create(client: MiniRec) -> str:
    return client.selections.create(dataset="ds_1", model="org/model", size=8).id


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again_twice(status: int) -> None:
    service = Script(problem(status), problem(status), OK)
    assert create(service.client()) == "sel_1"
    assert len(service.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_a_lasting_fault_is_not_tried_again(status: int) -> None:
    service = Script(problem(status))
    with pytest.raises(APIStatusError):
        create(service.client())
    assert len(service.requests) == 1
    assert service.pauses == []


@pytest.mark.parametrize("status", [409, 413, 425])
def test_an_answer_that_names_a_time_is_asked_for_again_then(status: int) -> None:
    busy = problem(status)
    busy.headers["retry-after"] = "3"
    service = Script(busy, OK)
    assert create(service.client()) == "sel_1"
    assert service.pauses == [3.0]
    with pytest.raises(APIStatusError):
        create(Script(busy).client())


@pytest.mark.parametrize("code", ["idempotency_in_progress", "dataset_busy"])
def test_work_in_progress_is_waited_for_beyond_the_number_of_retries(code: str) -> None:
    busy = problem(409, code=code)
    busy.headers["retry-after"] = "1"
    service = Script(*[busy] * 8, OK)
    assert create(service.client()) == "sel_1"
    assert [pause >= 1 for pause in service.pauses] == [True] * 8
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1


def test_failures_while_waiting_count_as_ever() -> None:
    service = Script(problem(409, code="dataset_busy"), problem(503), problem(409, code="dataset_busy"), problem(503))
    with pytest.raises(APIStatusError, match="503"):
        create(service.client())
    assert len(service.requests) == 5


def test_work_in_progress_is_waited_for_no_longer_than_the_answer_would_be() -> None:
    service = Script(problem(409, code="dataset_busy"))
    with pytest.raises(ConflictError, match="dataset_busy"):
        create(service.client(timeout=20))
    assert 20 <= sum(service.pauses) < 20 + 8
    long = Script(problem(409, code="idempotency_in_progress"))
    with pytest.raises(ConflictError):
        long.client(timeout=20).datasets.upload(prompts=[{"id": "a"}])
    assert 900 <= sum(long.pauses) < 908


def test_a_client_without_retries_does_not_wait_for_work_in_progress() -> None:
    service = Script(problem(409, code="dataset_busy"))
    with pytest.raises(ConflictError):
        create(service.client(max_retries=0))
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadError("reset"),
        httpx2.WriteError("broken pipe"),
        httpx2.RemoteProtocolError("server disconnected"),
        httpx2.ConnectTimeout("slow"),
        httpx2.ReadTimeout("slow"),
        httpx2.PoolTimeout("slow"),
    ],
)
def test_a_broken_connection_is_tried_again(error: Exception) -> None:
    service = Script(error, OK)
    assert create(service.client()) == "sel_1"


def test_all_attempts_of_a_post_carry_the_same_idempotency_key_and_two_calls_differ() -> None:
    service = Script(problem(503), httpx2.ReadTimeout("slow"), OK)
    client = service.client()
    create(client)
    create(client)
    keys = [request.headers["idempotency-key"] for request in service.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_reading_carries_no_idempotency_key() -> None:
    service = Script(OK)
    service.client().selections.retrieve("sel_1")
    assert "idempotency-key" not in service.requests[0].headers


def test_attempts_end_and_the_last_error_is_raised() -> None:
    service = Script(problem(503, code="store_unreachable"))
    with pytest.raises(APIStatusError, match="store_unreachable"):
        create(service.client(max_retries=3))
    assert len(service.requests) == 4


def test_no_retries_means_one_attempt() -> None:
    service = Script(problem(503))
    with pytest.raises(APIStatusError):
        create(service.client().with_options(max_retries=0))
    assert len(service.requests) == 1


def test_pauses_double_up_to_eight_seconds_with_jitter_below() -> None:
    service = Script(problem(500))
    with pytest.raises(APIStatusError):
        create(service.client(max_retries=7))
    for pause, longest in zip(service.pauses, [0.5, 1, 2, 4, 8, 8, 8], strict=True):
        assert 0.75 * longest <= pause <= longest


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("100000", 120, 120),
        ("-5", 0, 0.5),
        ("soon", 0, 0.5),
        ("Wed, 99 Foo", 0, 0.5),
        ("0", 0.375, 0.5),
    ],
)
def test_the_service_may_ask_for_a_longer_pause_of_at_most_two_minutes(header: str, low: float, high: float) -> None:
    busy = problem(429)
    busy.headers["retry-after"] = header
    service = Script(busy, OK)
    create(service.client())
    assert low <= service.pauses[0] <= high


def test_the_service_may_name_the_time_of_the_next_attempt() -> None:
    busy = problem(503)
    busy.headers["retry-after"] = format_datetime(datetime.now(UTC) + timedelta(seconds=50))
    service = Script(busy, OK)
    create(service.client())
    assert 40 < service.pauses[0] <= 50


def test_a_timeout_says_so_and_is_a_connection_error() -> None:
    with pytest.raises(APITimeoutError, match=r"service\.test/v1/selections did not answer in time"):
        create(Script(httpx2.ReadTimeout("slow")).client())
    assert issubclass(APITimeoutError, APIConnectionError)


def test_an_unreachable_service_is_named_with_what_to_do() -> None:
    with pytest.raises(APIConnectionError, match="`minirec up` starts one; MINIREC_BASE_URL"):
        create(Script(httpx2.ConnectError("Connection refused")).client())


def test_an_upload_is_sent_again_whole() -> None:
    dataset = {
        "id": "ds_1",
        "created_at": 1.0,
        "n_samples": 1,
        "n_items": 1,
        "n_users": 0,
        "splits": {},
        "content_hash": "0",
    }
    service = Script(problem(503), httpx2.Response(201, json=dataset))
    service.client().datasets.upload(samples=[{"id": "a"}], items=[{"item_id": "x", "title": "X"}], name="n")
    first, second = (request.content for request in service.requests)
    assert b'{"id": "a"}\n' in first
    boundary = service.requests[0].headers["content-type"].partition("boundary=")[2].encode()
    other = service.requests[1].headers["content-type"].partition("boundary=")[2].encode()
    assert first.replace(boundary, b"-") == second.replace(other, b"-")


def test_conflicts_are_the_callers_to_resolve() -> None:
    service = Script(problem(409, code="job_finished"))
    with pytest.raises(ConflictError) as caught:
        service.client().selections.cancel("sel_1")
    assert caught.value.code == "job_finished"
    assert len(service.requests) == 1
