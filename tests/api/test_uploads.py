"""Every way to send a bad upload, and that nothing is left of it."""

from __future__ import annotations

import gzip
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minirec.service.uploads import PREFIX, remove_stale
from tests.api.conftest import KEY, Service
from tests.api.processes import running_service, wait_until
from tests.api.test_datasets import blobs
from tests.api.test_problems import assert_problem, field_errors, row_errors

ITEM = {"item_id": "i1", "title": "One"}
SAMPLE = {"id": "s1", "history": ["i1"], "target": "i1"}


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that nobody else uses."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def post(service: Service, samples: bytes, items: bytes = lines(ITEM), **kwargs: Any) -> Any:
    files = {"samples": ("pool.jsonl", samples), "items": ("catalogue.jsonl", items)}
    return service.http.post("/v1/datasets", files=files, **kwargs)


def assert_nothing_is_left(service: Service, temporary_files: Path) -> None:
    assert service.http.get("/v1/datasets").json()["data"] == []
    assert blobs(service) == []
    assert list(temporary_files.iterdir()) == []


FAULTS: dict[str, tuple[bytes, bytes, tuple[Any, ...]]] = {
    "unknown item": (lines({**SAMPLE, "target": "i9"}), lines(ITEM), ("pool.jsonl", 1, "target", "i9")),
    "duplicate sample": (lines(SAMPLE, SAMPLE), lines(ITEM), ("pool.jsonl", 2, "id", "line 1")),
    "duplicate item": (lines(SAMPLE), lines(ITEM, ITEM), ("catalogue.jsonl", 2, "item_id", "line 1")),
    "empty history": (lines({**SAMPLE, "history": []}), lines(ITEM), ("pool.jsonl", 1, "history", "empty")),
    "NaN": (b'{"id": "s1", "history": ["i1"], "target": "i1", "timestamp": NaN}\n', lines(ITEM), ("pool.jsonl", 1)),
    "wrong type": (lines({**SAMPLE, "history": "i1"}), lines(ITEM), ("pool.jsonl", 1, "history", "list")),
    "unknown field": (lines({**SAMPLE, "colour": "red"}), lines(ITEM), ("pool.jsonl", 1, "colour", "")),
    "no JSON": (lines(SAMPLE) + b"{oops\n", lines(ITEM), ("pool.jsonl", 2)),
    "bad UTF-8": (b'{"id": "\xff"}\n', lines(ITEM), ("pool.jsonl", 1)),
    "cut gzip": (gzip.compress(lines(SAMPLE))[:-4], lines(ITEM), ("pool.jsonl",)),
    "no Parquet": (b"PAR1 and then nothing", lines(ITEM), ("pool.jsonl",)),
    "a zip": (b"PK\x03\x04 something", lines(ITEM), ("pool.jsonl", None, None, "zip")),
    "empty samples": (b"", lines(ITEM), ("pool.jsonl", None, None, "empty")),
    "empty items": (lines(SAMPLE), b"", ("catalogue.jsonl", None, None, "empty")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_refused_by_file_line_and_field(service: Service, temporary_files: Path, fault: str) -> None:
    samples, items, (file, *where) = FAULTS[fault]
    problem = assert_problem(post(service, samples, items), 422, "invalid_dataset")
    error = row_errors(problem)[0]
    assert error.file == file
    for name, expected in zip(("line", "field"), where, strict=False):
        assert getattr(error, name) == expected
    if len(where) == 3:
        assert where[2] in error.msg
    assert problem.total_errors == len(problem.errors) == 1
    assert_nothing_is_left(service, temporary_files)


def test_a_hundred_faults_are_listed_and_all_are_counted(service: Service) -> None:
    samples = lines(*({**SAMPLE, "id": f"s{n}", "target": "i9"} for n in range(150)))
    problem = assert_problem(post(service, samples), 422, "invalid_dataset")
    assert (len(problem.errors), problem.total_errors) == (100, 150)
    assert "150 faults" in problem.detail


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\pool.jsonl", "pool.jsonl"),
        ("a\x1bb", "ab"),
        ("x" * 300, "x" * 100),
        ("..", ".."),
    ],
)
def test_file_names_are_only_ever_shown(service: Service, temporary_files: Path, given: str, shown: str) -> None:
    files = {"samples": (given, b"{oops"), "items": ("items.jsonl", lines(ITEM))}
    problem = assert_problem(service.http.post("/v1/datasets", files=files), 422, "invalid_dataset")
    assert row_errors(problem)[0].file == shown
    assert_nothing_is_left(service, temporary_files)


@pytest.mark.parametrize(
    ("files", "data", "place", "says"),
    [
        ({"items": b"x"}, {}, "samples", "missing"),
        ({"samples": b"x"}, {}, "items", "missing"),
        ({"samples": b"x", "items": b"x", "more": b"x"}, {}, "more", "samples, items, prompts, name, metadata"),
        ({"samples": b"x", "items": b"x"}, {"colour": "red"}, "colour", "not known"),
        ({"samples": b"x"}, {"items": "x"}, "items", "plain field"),
        ({"samples": b"x", "items": b"x", "name": b"x"}, {}, "name", "plain field"),
        ({"samples": b"x", "items": b"x"}, {"name": "x" * 201}, "name", "200"),
        ({"samples": b"x", "items": b"x"}, {"metadata": "{"}, "metadata", "JSON"),
        ({"samples": b"x", "items": b"x"}, {"metadata": "[1]"}, "metadata", "JSON"),
        ({"samples": b"x", "items": b"x"}, {"metadata": '{"a": 1}'}, "metadata", "string"),
        ({"samples": b"x", "items": b"x"}, {"name": ["a", "b"]}, "name", "more than once"),
    ],
)
def test_a_part_that_does_not_belong_is_named(
    service: Service, files: dict[str, bytes], data: dict[str, Any], place: str, says: str
) -> None:
    problem = assert_problem(service.http.post("/v1/datasets", files=files, data=data), 422, "invalid_request")
    assert [error.loc for error in field_errors(problem)] == [["body", place]]
    assert says in problem.errors[0].msg


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_told_which_one_is_wanted(service: Service, kind: str) -> None:
    response = service.http.post("/v1/datasets", content=b"{}", headers={"Content-Type": kind})
    problem = assert_problem(response, 422, "invalid_request")
    assert kind in problem.detail
    assert "multipart/form-data" in problem.detail


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
)
def test_a_broken_multipart_body_is_a_problem(service: Service, kind: str) -> None:
    response = service.http.post("/v1/datasets", content=b"--y\r\nnonsense", headers={"Content-Type": kind})
    assert response.status_code in (400, 422), response.text
    assert_problem(response, response.status_code, "bad_request" if response.status_code == 400 else "invalid_request")


def test_too_large_an_upload_is_refused_before_it_is_read(make_service: Callable[..., Service]) -> None:
    service = make_service(max_upload_bytes=2000)
    assert_problem(post(service, lines(SAMPLE) * 100), 413, "payload_too_large")


def test_too_large_an_upload_is_refused_when_its_length_was_not_announced(
    make_service: Callable[..., Service], temporary_files: Path
) -> None:
    service = make_service(max_upload_bytes=2000)
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="samples"; filename="s"\r\n\r\n'
        while True:
            sent += 1000
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    # The test client hands the body over in one piece unless it comes from an endless source: cut it there.
    finite = (piece for _, piece in zip(range(50), body(), strict=False))
    assert_problem(service.http.post("/v1/datasets", content=finite, headers=headers), 413, "payload_too_large")
    assert_nothing_is_left(service, temporary_files)


def test_the_key_is_checked_before_the_body_is_read(service: Service) -> None:
    response = post(service, b"x" * 100_000, headers={"Authorization": f"Bearer {KEY}x"})
    assert_problem(response, 401, "unauthorized")


def test_a_blob_store_that_fails_leaves_no_dataset(
    service: Service, temporary_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = type(service.store.blobs).put_file

    def full(self: Any, name: str, source: Path) -> None:
        if name.endswith("samples.parquet"):
            raise OSError(28, "No space left on device")
        put_file(self, name, source)

    monkeypatch.setattr(type(service.store.blobs), "put_file", full)
    assert_problem(post(service, lines(SAMPLE)), 507, "storage_full")
    assert service.http.get("/v1/datasets").json()["data"] == []
    assert list(temporary_files.iterdir()) == []
    monkeypatch.undo()
    assert post(service, lines(SAMPLE)).status_code == 201


def test_what_a_killed_process_left_behind_is_removed(temporary_files: Path) -> None:
    for name in (f"{PREFIX}old", f"{PREFIX}young", "another"):
        (temporary_files / name).mkdir()
        (temporary_files / name / "samples").write_bytes(b"x")
    os.utime(temporary_files / f"{PREFIX}old", (0, 0))
    os.utime(temporary_files / "another", (0, 0))
    assert remove_stale() == 1
    assert sorted(path.name for path in temporary_files.iterdir()) == ["another", f"{PREFIX}young"]


def test_a_client_that_leaves_in_mid_upload_leaves_nothing(service: Service, tmp_path: Path) -> None:
    log, folder = tmp_path / "service.log", tmp_path / "temporary"
    with running_service(service.settings, log, temporary=folder) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = (
                f"POST /v1/datasets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n\r\n"
                '--b\r\nContent-Disposition: form-data; name="samples"; filename="s"\r\n\r\n'
            )
            client.sendall(head.encode() + b"x" * 2_000_000)
        wait_until(lambda: "client_left" in log.read_text(), "the service to notice")
        assert list(folder.iterdir()) == []
    assert "request_failed" not in log.read_text()
    assert service.http.get("/v1/datasets").json()["data"] == []
