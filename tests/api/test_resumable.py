"""Uploads in parts: sent in any order and again, joined when they are complete, and gone when nobody comes back."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest

from minirec.service.janitor import Cleaner
from minirec.store.uploads import KEPT_SECONDS
from tests.api.conftest import Service
from tests.api.test_processing import get, kept_files, work

FILES = {"files": {"samples": "s.jsonl", "items": "i.jsonl"}, "name": "films", "metadata": {"a": "b"}}


def begin(service: Service, **changes: Any) -> str:
    answer = service.http.post("/v1/uploads", json=FILES | changes)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].endswith(answer.json()["id"])
    return str(answer.json()["id"])


def put(service: Service, upload: str, file: str, number: int, content: bytes, **params: str) -> Any:
    return service.http.put(f"/v1/uploads/{upload}/{file}/{number}", content=content, params=params)


def pieces(service: Service) -> dict[str, list[bytes]]:
    """The two files, cut in the middle of lines."""
    found = {}
    for file, path in zip(("samples", "items"), service.files, strict=True):
        text = path.read_bytes()
        found[file] = [text[start : start + 1000] for start in range(0, len(text), 1000)]
    assert len(found["samples"]) > 2
    return found


def complete(service: Service, upload: str, **parts: int) -> Any:
    return service.http.post(f"/v1/uploads/{upload}/complete", json={"parts": parts})


def test_parts_in_any_order_and_again_make_the_dataset_of_the_whole_files(service: Service) -> None:
    upload, parts = begin(service), pieces(service)
    sizes = {file: len(contents) for file, contents in parts.items()}
    for file, contents in parts.items():
        for number in reversed(range(1, len(contents))):
            digest = hashlib.sha256(contents[number]).hexdigest()
            assert put(service, upload, file, number, contents[number], sha256=digest).json()["sha256"] == digest
    assert put(service, upload, "samples", 0, b"a first part that was wrong").status_code == 200
    assert put(service, upload, "samples", 0, parts["samples"][0]).status_code == 200
    lacking = complete(service, upload, **sizes)
    assert (lacking.status_code, lacking.json()["code"]) == (409, "upload_incomplete")
    assert "part 0 of items" in lacking.json()["detail"]
    assert put(service, upload, "items", 0, parts["items"][0]).status_code == 200
    there = service.http.get(f"/v1/uploads/{upload}").json()
    assert {file: [part["number"] for part in found] for file, found in there["files"].items()} == {
        file: list(range(size)) for file, size in sizes.items()
    }
    fewer = complete(service, upload, **(sizes | {"samples": 1}))
    assert fewer.status_code == 422, "parts that were sent are not left out without a word"
    first, again = complete(service, upload, **sizes), complete(service, upload, **sizes)
    assert (first.status_code, again.status_code) == (202, 202), first.text
    dataset = first.json()
    assert dataset["id"] == again.json()["id"]
    assert dataset["progress"]["bytes_total"] == sum(path.stat().st_size for path in service.files)
    assert put(service, upload, "samples", 0, b"late").json()["code"] == "upload_complete"
    assert work(service) == ["committed"]
    ready = get(service, dataset["id"])
    whole = service.upload(data={"name": "films", "metadata": '{"a": "b"}'})
    assert whole.pop("same_as") == ready["id"]
    ready.pop("same_as", None)
    assert ready | {"id": "", "created_at": 0} == whole | {"id": "", "created_at": 0}
    assert kept_files(service) == {"datasets"}
    assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 200
    assert complete(service, upload, **sizes).json()["code"] == "upload_complete", "its files are gone"


def test_what_is_wrong_with_a_part_is_said(service: Service) -> None:
    upload = begin(service)
    damaged = put(service, upload, "samples", 0, b"x", sha256="0" * 64)
    assert (damaged.status_code, damaged.json()["code"]) == (422, "damaged_part")
    for file, number, content, status in (
        ("samples", 0, b"", 422),
        ("prompts", 0, b"x", 422),
        ("samples", -1, b"x", 422),
        ("samples", 10_000, b"x", 422),
    ):
        assert put(service, upload, file, number, content).status_code == status
    assert service.http.get(f"/v1/uploads/{upload}").json()["files"] == {"samples": [], "items": []}
    assert complete(service, upload, samples=1).status_code == 409
    assert put(service, upload, "samples", 0, b"x").status_code == 200
    lacking = complete(service, upload, samples=1)
    assert (lacking.status_code, "lacks items" in lacking.json()["detail"]) == (422, True)
    assert put(service, "upl_none", "samples", 0, b"x").status_code == 404


def test_all_parts_together_are_bounded(make_service: Any) -> None:
    service = make_service(max_upload_bytes=100)
    upload = begin(service)
    assert put(service, upload, "samples", 0, b"x" * 60).status_code == 200
    assert put(service, upload, "samples", 0, b"y" * 90).status_code == 200, "in place of the first"
    assert put(service, upload, "items", 0, b"x" * 60).status_code == 413


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"files": {"samples": "s"}}, "lacks items"),
        ({"files": {"samples": "s", "prompts": "p"}}, "do not go together"),
        ({"files": {}}, "files"),
        ({"files": {"prompts": "p"}, "timestamp_unit": "ms"}, "leave it out"),
        ({"files": {"rows": "p"}}, "rows"),
    ],
)
def test_uploads_that_cannot_become_a_dataset_are_not_begun(
    service: Service, changes: dict[str, Any], about: str
) -> None:
    answer = service.http.post("/v1/uploads", json=FILES | changes)
    assert answer.status_code == 422
    assert about in answer.text


def test_given_up_and_forgotten_uploads_leave_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up, forgotten, completed = begin(service), begin(service), begin(service)
    for upload in (given_up, forgotten, completed):
        for file, contents in pieces(service).items():
            assert put(service, upload, file, 0, b"".join(contents)).status_code == 200
    dataset = complete(service, completed, samples=1, items=1).json()["id"]
    assert service.http.delete(f"/v1/uploads/{given_up}").status_code == 204
    assert service.http.get(f"/v1/uploads/{given_up}").status_code == 404
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now + KEPT_SECONDS + 60)
        Cleaner(service.store, service.settings).clean()
    assert service.http.get(f"/v1/uploads/{forgotten}").status_code == 404
    assert {name.split("/")[1] for name in service.store.blobs.all_names()} == {completed}
    assert work(service) == ["committed"]
    assert get(service, dataset)["status"] == "ready"
    assert kept_files(service) == {"datasets"}
