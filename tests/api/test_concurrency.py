"""A client that has many requests in hand is told to wait, and others are not held up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.api.conftest import KEY, Service
from tests.api.processes import running_service, wait_until
from tests.api.test_keys import bearer, make
from tests.api.test_problems import assert_problem


def test_streams_count_until_they_end_and_other_keys_are_free(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = service.select(service.upload()["id"])["id"]
    other = bearer(make(service)["key"])
    monkeypatch.setenv("MINIREC_MAX_CLIENT_REQUESTS", "3")
    with (
        running_service(service.settings, tmp_path / "log") as address,
        httpx2.Client(base_url=address, headers=bearer(KEY), timeout=20, trust_env=False) as http,
    ):
        events = f"/v1/selections/{job}/events"
        with ExitStack() as streams:
            for _ in range(3):
                streams.enter_context(http.stream("GET", events, headers={"Accept": "text/event-stream"}))
            refused = http.get("/v1/datasets")
            assert_problem(refused, 429, "too_many_requests")
            assert refused.headers["Retry-After"] == "1"
            assert http.get("/v1/datasets", headers=other).status_code == 200
            assert http.get("/health/live").status_code == 200
        wait_until(lambda: http.get("/v1/datasets").status_code == 200, "closed streams to be forgotten")
        for _ in range(5):  # Those that were refused do not count.
            assert http.get("/v1/nothing").status_code == 404


def test_requests_that_fail_are_forgotten(make_service: Callable[..., Service]) -> None:
    service = make_service(max_client_requests=1)
    for path in ("/v1/datasets?limit=0", "/v1/datasets/ds_nothing", "/v1/datasets?mispelt=1"):
        assert service.http.get(path).status_code in (404, 422)
    assert service.http.get("/v1/datasets").status_code == 200
