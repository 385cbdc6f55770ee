"""Datasets come whole or not at all, are looked up, listed, and deleted."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.api_schemas import Dataset
from minirec.data.dataset import Dataset as Content
from minirec.service import apart
from minirec.store.garbage import collect_garbage
from tests.api.conftest import Service
from tests.api.stand_in import StandIn
from tests.api.test_problems import assert_problem, field_errors, row_errors


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def blobs(service: Service) -> list[str]:
    """Names of the datasets' blobs, once the janitor has deleted what nobody keeps."""
    collect_garbage(service.store)
    names = service.store.blobs.all_names()
    return sorted(name for name in names if name.startswith("datasets/") and not name.endswith(".crc32"))


def test_an_upload_becomes_a_dataset(service: Service) -> None:
    samples, items = service.files
    with samples.open("rb") as first, items.open("rb") as second:
        response = service.http.post(
            "/v1/datasets",
            files={"items": second, "samples": first},
            data={"name": "little", "metadata": '{"source": "made up"}'},
        )
    assert response.status_code == 201, response.text
    dataset = Dataset.model_validate_json(response.content)
    assert response.headers["location"] == f"/v1/datasets/{dataset.id}"
    assert (dataset.n_samples, dataset.n_items, dataset.n_users) == (48, 40, 7)
    assert (dataset.name, dataset.metadata, dataset.splits) == ("little", {"source": "made up"}, {"none": 48})
    assert service.http.get(response.headers["location"]).json() == response.json()
    folder = f"datasets/{dataset.content_hash}"
    assert blobs(service) == [f"{folder}/items.parquet", f"{folder}/samples.parquet"]
    content = Content.open(*(service.store.blobs.local_path(name) for name in reversed(blobs(service))))
    assert content.sample_json(5) == rows_of(samples)[5]


@pytest.mark.parametrize("kind", ["gzip", "parquet"])
def test_the_same_rows_in_another_format_are_the_same_content(service: Service, tmp_path: Path, kind: str) -> None:
    plain = service.upload()
    changed = []
    for path in service.files:
        target = tmp_path / f"{path.stem}.{kind}"
        if kind == "gzip":
            target.write_bytes(gzip.compress(path.read_bytes()))
        else:
            rows = [
                row | {"timestamp": float(row["timestamp"])} if "timestamp" in row else row for row in rows_of(path)
            ]
            pq.write_table(pa.Table.from_pylist(rows), target)
        changed.append(target)
    service.files = changed[0], changed[1]
    other = service.upload()
    assert other["content_hash"] == plain["content_hash"]
    assert other["id"] != plain["id"]
    assert len(blobs(service)) == 2


def test_lists_are_pages_newest_first(service: Service) -> None:
    ids = [service.upload()["id"] for _ in range(5)][::-1]
    seen: list[str] = []
    after = None
    for expected in ([0, 1], [2, 3], [4]):
        page = service.http.get("/v1/datasets", params={"limit": 2} | ({"after": after} if after else {})).json()
        assert [row["id"] for row in page["data"]] == [ids[index] for index in expected]
        seen += [row["id"] for row in page["data"]]
        after = page["next_after"]
        assert page["has_more"] == (after is not None) == (expected != [4])
    assert seen == ids


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=nonsense", "after=ds_unknown"])
def test_pages_say_what_is_wrong_with_them(service: Service, query: str) -> None:
    problem = assert_problem(
        service.http.get(f"/v1/datasets?{query}"),
        422,
        "invalid_cursor" if query == "after=ds_unknown" else "invalid_request",
    )
    assert field_errors(problem)[0].loc[:2] == ["query", query.partition("=")[0]]


def test_a_deleted_dataset_is_gone_with_its_blobs(service: Service) -> None:
    dataset_id = service.upload()["id"]
    assert service.http.delete(f"/v1/datasets/{dataset_id}").json() == {"id": dataset_id, "deleted": True}
    assert_problem(service.http.get(f"/v1/datasets/{dataset_id}"), 404, "dataset_not_found")
    assert_problem(service.http.delete(f"/v1/datasets/{dataset_id}"), 404, "dataset_not_found")
    assert service.http.get("/v1/datasets").json()["data"] == []
    assert blobs(service) == []


def test_shared_content_stays_until_its_last_dataset_goes(service: Service) -> None:
    first, second = service.upload()["id"], service.upload()["id"]
    service.http.delete(f"/v1/datasets/{first}")
    assert len(blobs(service)) == 2
    service.http.delete(f"/v1/datasets/{second}")
    assert blobs(service) == []


def test_rows_uploaded_again_while_they_are_deleted_are_there_afterwards(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.upload()["id"]
    delete_tree = type(service.store.blobs).delete_tree
    with ThreadPoolExecutor(1) as pool:
        uploads: list[Future[dict[str, Any]]] = []

        def delete_slowly(*args: Any, **options: Any) -> None:
            uploads.append(pool.submit(service.upload))
            wait(uploads, timeout=1)
            delete_tree(*args, **options)

        monkeypatch.setattr(type(service.store.blobs), "delete_tree", delete_slowly)
        assert service.http.delete(f"/v1/datasets/{first}").status_code == 200
        assert collect_garbage(service.store) == 1
        second = uploads[0].result()["id"]
    assert [row["id"] for row in service.http.get("/v1/datasets").json()["data"]] == [second]
    assert len(blobs(service)) == 2


def test_a_dataset_in_use_is_not_deleted(service: Service) -> None:
    dataset_id = service.upload()["id"]
    selection_id = service.select(dataset_id)["id"]
    problem = assert_problem(service.http.delete(f"/v1/datasets/{dataset_id}"), 409, "dataset_in_use")
    assert selection_id in problem.detail
    StandIn(service.store, selection_id).finish()
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200


def test_all_that_was_computed_for_a_dataset_goes_with_it(service: Service) -> None:
    dataset_id, other = service.upload()["id"], service.upload()["id"]
    selection_id, shared = service.select(dataset_id)["id"], service.select(other)["id"]
    for job in (selection_id, shared):
        service.store.blobs.put_bytes(f"scorings/{job}/64/shard", b"x")
        StandIn(service.store, job, scoring=f"score:{job}").finish()
    service.http.delete(f"/v1/datasets/{dataset_id}")
    collect_garbage(service.store)
    assert not service.store.blobs.exists(f"scorings/{selection_id}/64/shard")
    assert not service.store.redis.exists(f"minirec:columns:selection:{selection_id}")
    assert_problem(service.http.get(f"/v1/selections/{selection_id}/scores"), 410, "dataset_deleted")
    assert service.http.get(f"/v1/selections/{selection_id}").json()["status"] == "succeeded"
    # What another dataset's jobs need stays, although the rows are the same.
    assert service.store.blobs.exists(f"scorings/{shared}/64/shard")
    assert service.http.get(f"/v1/selections/{shared}/scores").status_code == 200
    for job in (selection_id, shared):
        assert service.http.delete(f"/v1/selections/{job}").status_code == 204
    service.http.delete(f"/v1/datasets/{other}")
    collect_garbage(service.store)
    assert service.store.blobs.all_names() == {}
    assert {key.decode() for key in service.store.redis.scan_iter("*")} == set()


def test_a_damaged_dataset_is_said_to_be_damaged(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).finish()
    name = next(name for name in service.store.blobs.all_names() if name.endswith("samples.parquet"))
    path = Path(service.store.blobs._path(name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    for route in ("scores", "subset?format=jsonl"):
        problem = assert_problem(service.http.get(f"/v1/selections/{selection_id}/{route}"), 410, "data_lost")
        assert name in problem.detail


def test_odd_uploads_say_so_and_units_are_converted(service: Service, tmp_path: Path) -> None:
    row = {"id": "s1", "history": ["a"], "target": "b", "timestamp": 1.5e12, "history_timestamps": [1.6e12]}
    items = [{"item_id": name, "title": name} for name in "ab"]
    samples, catalogue = tmp_path / "s", tmp_path / "i"
    samples.write_text(json.dumps(row))
    catalogue.write_text("\n".join(map(json.dumps, items)))

    def upload(**fields: str) -> Any:
        files = {"samples": samples.read_bytes(), "items": catalogue.read_bytes()}
        named = {name: (name, content) for name, content in files.items()}
        return service.http.post("/v1/datasets", files=named, data=fields)

    problem = assert_problem(upload(), 422, "invalid_dataset")
    assert "upload with timestamp_unit ms" in problem.errors[0].msg
    dataset = upload(timestamp_unit="ms").json()
    assert "later than the target" in dataset["warnings"][0]
    assert service.http.get(f"/v1/datasets/{dataset['id']}").json() == dataset
    assert (
        "must be one of s, ms, us, ns" in assert_problem(upload(timestamp_unit="days"), 422, "invalid_request").detail
    )
    prompts = {"prompts": ("p", b'{"id": "p", "prompt": "x"}')}
    response = service.http.post("/v1/datasets", files=prompts, data={"timestamp_unit": "ms"})
    assert "no samples were sent" in assert_problem(response, 422, "invalid_request").detail


def test_large_uploads_are_checked_in_a_process_of_their_own(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = service.upload()
    monkeypatch.setattr(apart, "APART_BYTES", 0)
    large = service.upload()
    assert large["content_hash"] == small["content_hash"]
    named = {"prompts": ("p.jsonl", b'{"id": "p", "prompt": "x"}\n{"id": "p", "prompt": "\\u200b"}\n{"id": "q"}\n')}
    problem = assert_problem(service.http.post("/v1/datasets", files=named), 422, "invalid_dataset")
    assert [(error.line, error.field) for error in row_errors(problem)] == [(2, "prompt"), (3, "prompt")]
    rewards = b"".join(json.dumps({"sample_id": f"s{n:03d}", "reward": [0.5]}).encode() + b"\n" for n in range(48))
    url = f"/v1/datasets/{large['id']}/signals"
    assert service.http.post(url, files={"rewards": ("r", rewards)}).json()["n_samples"] == 48
    response = service.http.post(url, files={"rewards": ("r", rewards + rewards[:40])})
    assert_problem(response, 422, "invalid_signals")


def test_rows_come_in_pages_with_the_titles_in_them(service: Service) -> None:
    dataset = service.upload()
    uploaded, items = rows_of(service.files[0]), rows_of(service.files[1])
    titles = {row["item_id"]: row["title"] for row in items}
    found: list[dict[str, Any]] = []
    after: dict[str, int] = {}
    while True:
        page = service.http.get(f"/v1/datasets/{dataset['id']}/rows", params={"limit": 7} | after).json()
        found += page["data"]
        for row in page["data"]:
            assert {item: page["titles"][item] for item in (*row["history"], row["target"])} == {
                item: titles[item] for item in (*row["history"], row["target"])
            }
        if not page["has_more"]:
            break
        after = {"after": page["next_after"]}
    assert found == uploaded
    beyond = service.http.get(f"/v1/datasets/{dataset['id']}/rows", params={"after": 10**9}).json()
    assert (beyond["data"], beyond["has_more"]) == ([], False)


def test_rows_of_prompts_are_as_they_were_uploaded(service: Service) -> None:
    dataset = service.upload_prompts()
    page = service.http.get(f"/v1/datasets/{dataset['id']}/rows").json()
    assert page["data"] == rows_of(service.files[0].parent / "prompts.jsonl")[:20]
    assert page["titles"] == {}


def test_rows_of_a_dataset_that_is_not_there(service: Service) -> None:
    assert_problem(service.http.get("/v1/datasets/ds_0/rows"), 404, "dataset_not_found")
