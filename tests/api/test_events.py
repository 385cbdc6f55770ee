"""Events of a selection: in pages, and live over a real server, resumed where a stream broke."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx2
import pytest

from minirec.api_schemas import Event
from tests.api.conftest import KEY, Service
from tests.api.processes import running_service
from tests.api.stand_in import StandIn, made_up_columns
from tests.api.test_problems import assert_problem, field_errors

SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def selection_id(service: Service) -> str:
    return str(service.select(service.upload()["id"])["id"])


def test_events_come_in_pages_oldest_first(service: Service, selection_id: str) -> None:
    StandIn(service.store, selection_id).finish()
    url = f"/v1/selections/{selection_id}/events"
    everything = service.http.get(url, params={"limit": 1000}).json()
    assert (everything["has_more"], everything["next_after"]) == (False, None)
    events = [Event.model_validate(row) for row in everything["data"]]
    assert [event.data["status"] for event in events if event.type == "status"] == ["queued", "running", "succeeded"]
    assert [event.data["stage"] for event in events if event.type == "stage"] == [
        "preparing",
        "embedding_catalogue",
        "scoring",
        "selecting",
    ]
    assert [event.data for event in events if event.type == "warning"] == [{"message": "a warning"}]
    assert all(event.job_id == selection_id for event in events)
    seen = []
    params: dict[str, str | int] = {"limit": 3}
    while True:
        page = service.http.get(url, params=params).json()
        seen += page["data"]
        if not page["has_more"]:
            break
        assert len(page["data"]) == 3
        params["after"] = page["next_after"]
    assert seen == everything["data"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "after=x", "after=-", "after=$", "after=1-2-3", f"after={'9' * 20}"]
)
def test_pages_of_events_say_what_is_wrong_with_them(service: Service, selection_id: str, query: str) -> None:
    problem = assert_problem(service.http.get(f"/v1/selections/{selection_id}/events?{query}"), 422, "invalid_request")
    assert field_errors(problem)[0].loc == ["query", query.partition("=")[0]]


def test_a_stream_wants_a_fit_last_event_id(service: Service, selection_id: str) -> None:
    response = service.http.get(f"/v1/selections/{selection_id}/events", headers=SSE | {"Last-Event-ID": "x\x00"})
    assert field_errors(assert_problem(response, 422, "invalid_request"))[0].loc == ["header", "last-event-id"]


@pytest.fixture
def live(service: Service, tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client of the service under uvicorn."""
    with (
        running_service(service.settings, tmp_path / "service.log") as address,
        httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {KEY}"} | SSE, timeout=30) as http,
    ):
        yield http


def stream(http: httpx2.Client, selection_id: str, last_event_id: str | None = None) -> Generator[Event]:
    """Events as they arrive."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with http.stream("GET", f"/v1/selections/{selection_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        for message in httpx2.EventSource(response):
            event = Event.model_validate_json(message.data)
            assert (message.id, message.event) == (event.id, event.type)
            yield event


def test_a_stream_tells_what_was_then_what_is_and_ends_with_the_selection(
    service: Service, live: httpx2.Client, selection_id: str
) -> None:
    events = stream(live, selection_id)
    assert next(events).data == {"status": "queued"}
    assert next(events).data == {"stage": "preparing", "total": 1}
    worker = StandIn(service.store, selection_id)
    started = time.monotonic()
    worker.prepare()
    assert next(events).data == {"status": "running"}
    assert time.monotonic() - started < 2, "events come when they happen"
    worker = StandIn(service.store, selection_id, scoring="score:abc")
    finisher = threading.Thread(target=lambda: (worker.embed(), worker.score(), _select(worker)))
    finisher.start()
    rest = list(events)
    finisher.join()
    assert rest[-1].data == {"status": "succeeded"}
    stored = service.store.events.read(selection_id, limit=1000)
    assert [event.id for event in rest] == [event.id for event in stored[3:]]


def _select(worker: StandIn) -> None:
    worker.select(made_up_columns(48))


def test_a_broken_stream_goes_on_where_it_broke(service: Service, live: httpx2.Client, selection_id: str) -> None:
    events = stream(live, selection_id)
    seen = [next(events), next(events)]
    events.close()
    StandIn(service.store, selection_id).finish()
    seen += stream(live, selection_id, seen[-1].id)
    assert seen == service.store.events.read(selection_id, limit=1000)


def test_a_stream_without_anything_left_is_over_at_once(
    service: Service, live: httpx2.Client, selection_id: str
) -> None:
    StandIn(service.store, selection_id).finish()
    last = service.store.events.read(selection_id, limit=1000)[-1]
    url = f"/v1/selections/{selection_id}/events"
    assert live.get(url, headers={"Last-Event-ID": last.id}).status_code == 204
    assert live.get(url, params={"after": last.id}).status_code == 204


def test_a_stream_goes_past_the_end_that_a_retry_took_back(
    service: Service, live: httpx2.Client, selection_id: str
) -> None:
    service.store.machine.cancel(selection_id)
    service.store.machine.retry(selection_id)
    StandIn(service.store, selection_id).finish()
    statuses = [event.data["status"] for event in stream(live, selection_id) if event.type == "status"]
    assert statuses == ["queued", "cancelled", "queued", "running", "succeeded"]


def test_many_streams_do_not_keep_others_waiting(service: Service, live: httpx2.Client, selection_id: str) -> None:
    streams = [stream(live, selection_id) for _ in range(60)]
    for events in streams:
        next(events)
    started = time.monotonic()
    assert live.get("/v1/datasets").status_code == 200
    assert time.monotonic() - started < 5
    for events in streams:
        events.close()


def test_the_service_stops_although_a_stream_is_open(service: Service, selection_id: str, tmp_path: Path) -> None:
    with running_service(service.settings, tmp_path / "service.log") as address:
        http = httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {KEY}"} | SSE, timeout=30)
        events = stream(http, selection_id)
        next(events)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    http.close()
