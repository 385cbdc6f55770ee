"""The service on a real Redis-compatible server, with doorbells that the tests hear instead of a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from minirec.service.app import create_app
from minirec.settings import Settings
from minirec.store import Store, connect
from minirec.store.machine import Doorbell, Ring
from tests.builders import write_files, write_mixed_prompts

KEY = "test-key-0123456789"


@dataclass
class Service:
    """A running service and what lies behind it."""

    app: FastAPI
    settings: Settings
    store: Store
    http: TestClient
    files: tuple[Path, Path]
    doorbells: list[Doorbell] = field(default_factory=list)

    def upload(self, *, data: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Upload the small dataset and return its record."""
        samples, items = self.files
        with samples.open("rb") as first, items.open("rb") as second:
            response = self.http.post(
                "/v1/datasets", files={"samples": first, "items": second}, data=data, headers=headers
            )
        assert response.status_code == 201, response.text
        return dict(response.json())

    def upload_prompts(self, *, data: dict[str, str] | None = None) -> dict[str, Any]:
        """Upload the small dataset of prompts and return its record."""
        with write_mixed_prompts(self.files[0].parent).open("rb") as prompts:
            response = self.http.post("/v1/datasets", files={"prompts": prompts}, data=data)
        assert response.status_code == 201, response.text
        return dict(response.json())

    def select_by_signals(self, dataset_id: str, sample_ids: Sequence[str]) -> dict[str, Any]:
        """Upload rewards of samples, queue a selection by them, and return its record."""
        rows = [{"sample_id": sample_id, "reward": [n / 100, 0.0]} for n, sample_id in enumerate(sample_ids)]
        body = "".join(json.dumps(row) + "\n" for row in rows)
        uploaded = self.http.post(f"/v1/datasets/{dataset_id}/signals", files={"rewards": ("r.jsonl", body)})
        assert uploaded.status_code == 201, uploaded.text
        response = self.http.post(
            "/v1/selections",
            json={"dataset_id": dataset_id, "signals": "uploaded", "size": 6, "curriculum": {"group_size": 4}},
        )
        assert response.status_code == 202, response.text
        return dict(response.json())

    def select(self, dataset_id: str, **changes: Any) -> dict[str, Any]:
        """Queue a selection and return its record."""
        response = self.http.post("/v1/selections", json=selection_body(dataset_id, **changes))
        assert response.status_code == 202, response.text
        return dict(response.json())

    def train(self, dataset_id: str, **changes: Any) -> dict[str, Any]:
        """Queue a training job and return its record."""
        response = self.http.post("/v1/training_jobs", json=training_body(dataset_id, **changes))
        assert response.status_code == 202, response.text
        return dict(response.json())

    def evaluate(self, dataset_id: str, **changes: Any) -> dict[str, Any]:
        """Queue an evaluation and return its record."""
        response = self.http.post("/v1/evaluations", json=evaluation_body(dataset_id, **changes))
        assert response.status_code == 202, response.text
        return dict(response.json())


def evaluation_body(dataset_id: str, **changes: Any) -> dict[str, Any]:
    """A request to evaluate a model on all samples of a small dataset."""
    return {"dataset_id": dataset_id, "model": {"source": "local", "id": "tiny"}, "split": "all"} | changes


def training_body(dataset_id: str, **changes: Any) -> dict[str, Any]:
    """A request to train on three samples."""
    return {
        "dataset_id": dataset_id,
        "ids": ["s004", "s001", "s009"],
        "model": {"source": "local", "id": "tiny"},
    } | changes


def selection_body(dataset_id: str, **changes: Any) -> dict[str, Any]:
    """A request for a small selection."""
    return {
        "dataset_id": dataset_id,
        "model": {"source": "local", "id": "tiny"},
        "size": 6,
        "curriculum": {"group_size": 4},
    } | changes


@pytest.fixture
def make_service(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Builds services that share one store, with the settings that a test needs."""
    opened: list[TestClient] = []
    files = write_files(tmp_path)

    def make(*, store_ring: Ring | None = None, **changes: Any) -> Service:
        settings = Settings(
            **{"redis_url": redis_url, "blob_url": (tmp_path / "blobs").as_uri(), "api_keys": (KEY,), **changes}
        )
        doorbells: list[Doorbell] = []
        store = connect(settings, ring=store_ring or doorbells.extend)
        app = create_app(settings, store=store)
        http = TestClient(app, headers={"Authorization": f"Bearer {KEY}"}, raise_server_exceptions=False)
        opened.append(http)
        return Service(app, settings, store, http, files, doorbells)

    connect(Settings(redis_url=redis_url, blob_url=tmp_path.as_uri())).redis.flushall()
    yield make
    for http in opened:
        http.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """A service with one API key."""
    return make_service()
