"""Webhooks: signed as Standard Webhooks says, sent until they are heard, and never into the service's own network."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from minirec.service import outbound
from minirec.service.deliveries import PAUSES, Deliverer
from tests.api.conftest import Service
from tests.api.processes import process, wait_until
from tests.api.stand_in import StandIn
from tests.api.test_keys import bearer, make
from tests.api.test_problems import assert_problem


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets; answers with what is in `statuses`, then with 204."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hooks?team=a"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service(webhook_private_addresses=True)


def hook(service: Service, url: str, **more: Any) -> dict[str, Any]:
    response = service.http.post("/v1/webhooks", json={"url": url} | more)
    assert response.status_code == 201, response.text
    return dict(response.json())


def finished(service: Service) -> str:
    job = str(service.select(service.upload()["id"])["id"])
    StandIn(service.store, job).finish()
    return job


def make_due(service: Service) -> None:
    """Let the pauses of all messages be over."""
    for member in due(service):
        service.store.redis.zadd(f"{service.store.prefix}webhooks:due", {member: 1})


def due(service: Service) -> dict[bytes, float]:
    """Messages that are still to be sent, and when."""
    return dict(cast(Any, service.store.redis.zrange(f"{service.store.prefix}webhooks:due", 0, -1, withscores=True)))


def test_the_end_of_a_job_is_told_with_a_signature_that_others_verify(service: Service, receiver: Receiver) -> None:
    made = hook(service, receiver.url)
    job = finished(service)
    assert Deliverer(service.store, service.settings).deliver() == 1
    (path, headers, body), *rest = receiver.got
    assert not rest
    assert path == "/hooks?team=a"
    told = Verifier(made["secret"]).verify(body, headers)
    assert told["type"] == "selection.succeeded"
    dataset = service.http.get(f"/v1/selections/{job}").json()["dataset_id"]
    assert told["data"] == {"id": job, "object": "selection", "status": "succeeded", "dataset_id": dataset}
    with pytest.raises(WebhookVerificationError):
        Verifier(made["secret"]).verify(body.replace(b"succeeded", b"cancelled"), headers)
    listed = service.http.get("/v1/webhooks")
    assert made["secret"] not in listed.text
    assert listed.json()["data"][0]["last_delivery"]["status"] == 204
    assert Deliverer(service.store, service.settings).deliver() == 0


def test_a_message_is_sent_again_by_whoever_comes_until_it_is_heard(service: Service, receiver: Receiver) -> None:
    hook(service, receiver.url)
    finished(service)
    receiver.statuses = [500, 307, 404]
    for attempt in range(3):
        # Each is another process's: what was to be sent is in Redis.
        assert Deliverer(service.store, service.settings).deliver() == 1
        (when,) = due(service).values()
        assert abs(when - time.time() - PAUSES[attempt]) < 60
        assert Deliverer(service.store, service.settings).deliver() == 0, "its pause is not over"
        make_due(service)
    assert Deliverer(service.store, service.settings).deliver() == 1
    assert len(receiver.got) == 4, "redirects are not followed"
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    make_due(service)
    assert Deliverer(service.store, service.settings).deliver() == 0
    assert not service.store.redis.exists(f"{service.store.prefix}webhooks:failed")


def test_a_message_that_is_never_heard_is_dropped_in_the_end(service: Service) -> None:
    made = hook(service, "http://127.0.0.1:9/")
    finished(service)
    for _ in range(len(PAUSES) + 1):
        assert Deliverer(service.store, service.settings).deliver() == 1
        make_due(service)
    assert Deliverer(service.store, service.settings).deliver() == 0
    (listed,) = service.http.get("/v1/webhooks").json()["data"]
    assert (listed["id"], listed["last_delivery"].get("status")) == (made["id"], None)
    assert "refused" in listed["last_delivery"]["error"]


def test_only_the_tenant_and_the_endings_that_were_asked_for(service: Service, receiver: Receiver) -> None:
    other = bearer(make(service, tenant="other", scope="write")["key"])
    assert service.http.post("/v1/webhooks", json={"url": receiver.url}, headers=other).status_code == 201
    failed = hook(service, receiver.url, statuses=["failed", "cancelled"])
    finished(service)
    cancelled = service.select(service.upload()["id"])["id"]
    service.http.post(f"/v1/selections/{cancelled}/cancel")
    Deliverer(service.store, service.settings).deliver()
    assert [json.loads(body)["data"]["id"] for _, _, body in receiver.got] == [cancelled]
    assert len(service.http.get("/v1/webhooks", headers=other).json()["data"]) == 1
    assert service.http.delete(f"/v1/webhooks/{failed['id']}", headers=other).status_code == 404
    assert service.http.delete(f"/v1/webhooks/{failed['id']}").status_code == 204
    assert service.http.get("/v1/webhooks").json()["data"] == []


def test_the_janitor_sends(
    service: Service, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(service, receiver.url)
    monkeypatch.setenv("MINIREC_WEBHOOK_PRIVATE_ADDRESSES", "true")
    with process(["-m", "minirec.service.janitor"], service.settings, tmp_path / "log"):
        finished(service)
        wait_until(lambda: receiver.got, "the message")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
    ],
)
def test_addresses_of_our_own_network_are_refused(make_service: Callable[..., Service], url: str) -> None:
    response = make_service().http.post("/v1/webhooks", json={"url": url})
    assert_problem(response, 422, "invalid_request")
    assert response.json()["errors"][0]["loc"] == ["body", "url"]


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "https://user:word@example.com/", "https:///path", "example.com"]
)
def test_what_is_no_address_is_refused(service: Service, url: str) -> None:
    assert service.http.post("/v1/webhooks", json={"url": url}).status_code == 422


def test_a_name_that_leads_into_our_own_network_is_not_asked(receiver: Receiver) -> None:
    with pytest.raises(outbound.RefusedAddress, match="network of our own"):
        outbound.post(f"https://localhost:{receiver.server_port}/", b"{}", {}, allow_private=False)
    assert receiver.got == []
