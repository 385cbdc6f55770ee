"""Prompt datasets through REST: one file in, checked; and what a selection made of them, out again."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from minirec.data.dataset import PromptDataset
from minirec.service.content import open_content
from tests.api.conftest import Service, training_body
from tests.api.stand_in import StandIn
from tests.api.test_datasets import blobs, rows_of
from tests.api.test_problems import assert_problem, field_errors, row_errors
from tests.builders import MIXED_PROMPTS

IDS = [f"p{n:03d}" for n in range(48)]
ORDER = [f"p{7 * n:03d}" for n in range(6)][::-1]
"""Training order of the stand-in's selection."""


def post(service: Service, *rows: dict[str, Any], **files: bytes) -> Any:
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return service.http.post("/v1/datasets", files={"prompts": ("mine.jsonl", body), **files})


@pytest.fixture
def finished(service: Service) -> str:
    """A finished selection from the small dataset of prompts."""
    selection_id = str(service.select_by_signals(service.upload_prompts()["id"], IDS)["id"])
    StandIn(service.store, selection_id).finish()
    return selection_id


def test_a_file_of_prompts_is_a_dataset(service: Service) -> None:
    dataset = service.upload_prompts(data={"name": "sums", "metadata": '{"a": "b"}'})
    assert (dataset["kind"], dataset["name"], dataset["metadata"]) == ("prompts", "sums", {"a": "b"})
    assert (dataset["n_samples"], dataset["n_items"], dataset["n_users"]) == (48, 0, 0)
    assert dataset["splits"] == {"none": 48}
    assert service.http.get(f"/v1/datasets/{dataset['id']}").json() == dataset
    assert blobs(service) == [f"datasets/{dataset['content_hash']}/prompts.parquet"]
    content = open_content(service.store, dataset["content_hash"])
    assert isinstance(content, PromptDataset)
    sent = rows_of(service.files[0].parent / "prompts.jsonl")
    assert [content.sample_json(row) for row in range(48)] == sent


def test_interactions_stay_what_they_were(service: Service) -> None:
    assert service.upload()["kind"] == "interactions"


def test_the_same_prompts_in_another_format_are_the_same_content(service: Service) -> None:
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in MIXED_PROMPTS).encode())
    hashes = {post(service, *MIXED_PROMPTS).json()["content_hash"]}
    hashes.add(service.http.post("/v1/datasets", files={"prompts": ("p", packed)}).json()["content_hash"])
    assert len(hashes) == 1


def test_faults_name_file_line_and_field(service: Service) -> None:
    response = post(service, {"id": "a", "prompt": "x"}, {"id": "a", "prompt": []}, {"id": "c", "answer": "y"})
    problem = assert_problem(response, 422, "invalid_dataset")
    assert [(error.file, error.line, error.field) for error in row_errors(problem)] == [
        ("mine.jsonl", 2, "prompt"),
        ("mine.jsonl", 3, "prompt"),
    ]
    assert blobs(service) == []


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (("prompts", "samples"), "`samples` and `prompts` do not go together; send"),
        (("prompts", "samples", "items"), "`samples` and `items` and `prompts` do not go together; send"),
        (("name",), "no file was sent; send the files `samples` and `items`, or the file `prompts`"),
    ],
)
def test_a_body_is_of_one_kind(service: Service, parts: tuple[str, ...], says: str) -> None:
    files: dict[str, Any] = {part: (None if part == "name" else part, b"{}") for part in parts}
    problem = assert_problem(service.http.post("/v1/datasets", files=files), 422, "invalid_request")
    assert says in problem.detail
    assert field_errors(problem)[0].loc == ["body"]


def test_a_deleted_dataset_is_gone_with_its_blob(service: Service) -> None:
    dataset_id = service.upload_prompts()["id"]
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200
    assert blobs(service) == []


def test_scores_are_those_of_the_prompts(service: Service, finished: str) -> None:
    rows = service.http.get(f"/v1/selections/{finished}/scores").json()["data"]
    assert [row["id"] for row in rows] == IDS[: len(rows)]


def test_the_subset_has_the_rows_as_they_were_sent(service: Service, finished: str) -> None:
    assert service.http.get(f"/v1/selections/{finished}/subset").json()["ids"] == ORDER
    lines = service.http.get(f"/v1/selections/{finished}/subset?format=jsonl").content.splitlines()
    sent = {row["id"]: row for row in rows_of(service.files[0].parent / "prompts.jsonl")}
    assert [json.loads(line)["sample"] for line in lines] == [sent[sample_id] for sample_id in ORDER]


def test_the_subset_as_parquet_has_columns_that_fit_every_row(service: Service, finished: str) -> None:
    response = service.http.get(f"/v1/selections/{finished}/subset?format=parquet")
    rows = pq.read_table(io.BytesIO(response.content)).to_pylist()
    assert [row["id"] for row in rows] == ORDER
    sum_, films, open_ = (row["sample"] for row in rows[:3][::-1])  # p021, p028, p035
    assert sum_ == {
        "id": "p021",
        "prompt": [{"role": "user", "content": "What is 1 + 1?"}],
        "answer": "2",
        "source": "openai/gsm8k",
        "split": None,
        "extra": '{"level":3,"tags":["sum"]}',
    }
    assert (films["prompt"], json.loads(films["answer"])) == (MIXED_PROMPTS[1]["prompt"], ["Alien", "Amélie"])
    assert json.loads(films["extra"]) == {name: MIXED_PROMPTS[1][name] for name in ("ability", "completion")}
    assert (open_["answer"], open_["extra"]) == (None, '{"level":1.5}')


def test_numbers_of_any_size_come_back(service: Service) -> None:
    rows = [{"id": f"p{n:03d}", "prompt": "x", "n": 10**40 + n} for n in range(48)]
    dataset_id = post(service, *rows).json()["id"]
    selection_id = service.select_by_signals(dataset_id, IDS)["id"]
    StandIn(service.store, selection_id).finish()
    url = f"/v1/selections/{selection_id}/subset"
    line = service.http.get(f"{url}?format=jsonl").content.splitlines()[-1]
    table = pq.read_table(io.BytesIO(service.http.get(f"{url}?format=parquet").content)).to_pylist()
    assert json.loads(line)["sample"]["n"] == json.loads(table[-1]["sample"]["extra"])["n"] == 10**40


def test_training_names_ids_that_are_not_there(service: Service) -> None:
    body = training_body(service.upload_prompts()["id"], trainer="text_grpo", args={"rewards": [{"name": "token_f1"}]})
    response = service.http.post("/v1/training_jobs", json=body)
    assert response.status_code == 422
    assert "3 of ids are no samples of" in response.json()["detail"]


def test_the_document_describes_both_kinds_of_upload(service: Service) -> None:
    document = service.http.get("/openapi.json").json()
    body = document["paths"]["/v1/datasets"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["properties"]) == {"samples", "items", "prompts", "name", "metadata", "timestamp_unit"}
    assert body["if"] == {"required": ["prompts"]}
    assert body["then"]["required"] == ["prompts"]
    assert body["then"]["properties"] == {"samples": False, "items": False, "timestamp_unit": False}
    assert body["else"] == {"required": ["samples", "items"], "properties": {"prompts": False}}
    assert {"PromptRow", "Message"} <= set(document["components"]["schemas"])
