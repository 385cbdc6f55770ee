"""Traces: one from the request that starts a job to the commit of each of its units, received by a collector."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from minirec.client import MiniRec
from tests.e2e.conftest import started

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SECRET = "a title that no trace may have"


@dataclass
class Collector:
    """Receives spans over HTTP, as any OpenTelemetry collector does."""

    url: str
    spans: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                values = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
                ids = {"trace": span.trace_id.hex(), "parent": span.parent_span_id.hex(), "id": span.span_id.hex()}
                self.spans.append({"service": service, "name": span.name, **ids, **values})

    def named(self, prefix: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"].startswith(prefix)]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made: list[Collector] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made[0].take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Collector(f"http://127.0.0.1:{server.server_port}"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made[0]
        server.shutdown()


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A stack that did a selection in a given trace, and ended; its folder, and the selection."""
    folder = tmp_path_factory.mktemp("traced")
    settings = {"MINIREC_JANITOR_SECONDS": "0.5", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    environment = os.environ | settings | {"MINIREC_LEASE_SECONDS": "3"}
    with started(folder, environment) as (url, _):
        key = (folder / "key").read_text().strip()
        with MiniRec(base_url=url, api_key=key) as client:
            items = [{"item_id": str(n), "title": f"{SECRET} {n}"} for n in range(4)]
            samples = [{"id": str(n), "history": ["0", "1"], "target": "2"} for n in range(6)]
            dataset = client.datasets.upload(samples=samples, items=items).id
            rewards = [{"sample_id": str(n), "reward": [0.0, n / 6]} for n in range(6)]
            client.datasets.upload_signals(dataset, rewards=rewards)
            answer = httpx2.post(
                f"{url}/v1/selections",
                json={"dataset_id": dataset, "size": 2, "signals": "uploaded"},
                headers={"Authorization": f"Bearer {key}", "traceparent": f"00-{TRACE}-{PARENT}-01"},
            )
            job = answer.raise_for_status().json()
            client.selections.wait(job["id"])
            httpx2.get(f"{url}/health/live").raise_for_status()
    return folder, job


def test_the_request_and_every_unit_are_in_the_clients_trace(
    traced: tuple[Path, dict[str, Any]], collector: Collector
) -> None:
    _, job = traced
    (request,) = collector.named("POST /v1/selections")
    assert (request["service"], request["trace"], request["parent"]) == ("minirec-api", TRACE, PARENT)
    assert request["http.response.status_code"] == 202
    units = [span for span in collector.named("unit ") if span["trace"] == TRACE]
    assert {span["minirec.handler"] for span in units} == {"prepare", "select"}
    for span in units:
        assert (span["service"], span["parent"], span["minirec.outcome"]) == (
            "minirec-worker",
            request["id"],
            "committed",
        )
        assert job["id"] in span["minirec.group"]
        assert int(span["minirec.fence"]) > 0


def test_other_requests_have_traces_of_their_own(traced: object, collector: Collector) -> None:
    (upload,) = collector.named("POST /v1/datasets")[:1]
    assert upload["trace"] != TRACE
    assert collector.named("GET /health") == []


def test_log_lines_name_the_trace(traced: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = traced
    lines = [
        json.loads(line)
        for path in folder.glob("logs/*.log")
        for line in path.read_text().splitlines()
        if line.startswith("{")
    ]
    mine = {line["event"] for line in lines if line.get("trace_id") == TRACE}
    assert {"request", "unit_committed"} <= mine


def test_no_text_and_no_key_is_in_a_trace(traced: tuple[Path, dict[str, Any]], collector: Collector) -> None:
    folder, _ = traced
    sent = b"".join(collector.raw)
    assert SECRET.encode() not in sent
    assert (folder / "key").read_text().strip().encode() not in sent
