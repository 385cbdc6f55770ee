"""How large bodies may be, how often the blob store is checked, and how much of results is kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from minirec.service.limits import uploads
from minirec.service.probes import Throttled
from minirec.service.recent import Recent
from tests.api.conftest import Service, training_body
from tests.api.test_problems import assert_problem


def test_uploads_are_the_routes_that_take_files() -> None:
    from minirec.service import datasets, scores, signals

    larger = uploads([datasets.router, signals.router, scores.router], max_bytes=7)
    for path, expected in (
        ("/v1/datasets", True),
        ("/v1/datasets/ds_1/signals", True),
        ("/v1/datasets/ds_1", False),
        ("/v1/selections/sel_1/scores", False),
    ):
        assert any(rule.path.fullmatch(path) for rule in larger) == expected, path


def test_a_training_job_may_name_a_hundred_thousand_samples(service: Service) -> None:
    dataset_id = service.upload()["id"]
    ids = [f"ml-100k/user-{n}/{n:04d}" for n in range(100_000)]
    response = service.http.post("/v1/training_jobs", json=training_body(dataset_id, ids=ids))
    problem = assert_problem(response, 422, "unknown_sample")
    assert problem.total_errors == len(ids), "the body was read to its end"
    more = service.http.post("/v1/training_jobs", json=training_body(dataset_id, ids=["x" * 250] * 100_000))
    assert_problem(more, 413, "payload_too_large")


def test_a_route_that_reads_no_body_does_nothing_for_one_that_is_too_large(service: Service) -> None:
    selection = service.select(service.upload()["id"])["id"]
    response = service.http.post(f"/v1/selections/{selection}/cancel", content=b"x" * (2 << 20))
    assert_problem(response, 413, "payload_too_large")
    assert service.http.get(f"/v1/selections/{selection}").json()["status"] == "queued"


def test_readiness_does_not_write_to_the_blob_store_at_every_call(make_service: Callable[..., Service]) -> None:
    service = make_service()
    checks = 0
    check = service.store.blobs.check

    def counted() -> None:
        nonlocal checks
        checks += 1
        check()

    service.app.state.blob_check = Throttled(counted, seconds=60)
    assert {service.http.get("/health/ready").status_code for _ in range(20)} == {200}
    assert checks == 1


def test_a_check_is_made_again_after_a_while_and_its_failure_is_remembered_until_then() -> None:
    outcomes: list[Exception | None] = [OSError("full"), None]

    def check() -> None:
        if (error := outcomes.pop(0)) is not None:
            raise error

    kept = Throttled(check, seconds=60)
    for _ in range(3):
        with pytest.raises(OSError, match="full"):
            kept()
    assert len(outcomes) == 1
    outcomes.insert(0, OSError("full"))
    eager = Throttled(check, seconds=0)
    with pytest.raises(OSError, match="full"):
        eager()
    eager()


def test_a_check_that_hangs_does_not_hold_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minirec.service.probes.WAIT_SECONDS", 0.05)
    started, end = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        end.wait(10)

    check = Throttled(hang, seconds=60)
    first = threading.Thread(target=check)
    first.start()
    assert started.wait(10)
    with pytest.raises(TimeoutError):
        check()
    end.set()
    first.join()
    check()


def test_what_was_used_last_is_kept_up_to_a_size() -> None:
    read: list[str] = []

    def value(key: str) -> str:
        read.append(key)
        return key * 4

    recent: Recent[str, str] = Recent(len, limit=8)
    for key in "aabab":
        assert recent.get(key, lambda key=key: value(key)) == key * 4  # type: ignore[misc]
    assert read == ["a", "b"]
    recent.get("c", lambda: value("c"))
    recent.get("b", lambda: value("b"))
    assert read == ["a", "b", "c"], "a was used before b"
    recent.get("d", lambda: "d" * 100)
    recent.get("d", lambda: value("d"))
    assert read == ["a", "b", "c"], "the last one is kept whatever its size"
    recent.get("b", lambda: value("b"))
    assert read == ["a", "b", "c", "b"]
