"""A finished selection comes out as a folder for a trainer: by REST, by the SDK, by the command."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from minirec.cli.connection import Connection
from minirec.cli.main import app
from minirec.client import MiniRec, UnprocessableError
from minirec.data.exports import TARGETS
from minirec.store.columns import Columns
from tests.api.conftest import KEY, Service
from tests.api.stand_in import StandIn
from tests.api.test_datasets import rows_of
from tests.api.test_problems import assert_problem, field_errors

ORDER = [f"s{7 * n:03d}" for n in range(6)][::-1]
"""Training order of the stand-in's selection."""


@pytest.fixture
def finished(service: Service) -> tuple[str, Columns]:
    """A finished selection of a dataset with a name, and what was stored of it."""
    selection_id = service.select(service.upload(data={"name": "shop/clicks"})["id"], rollouts={"window": 2})["id"]
    return selection_id, StandIn(service.store, selection_id).finish()


@pytest.fixture
def client(service: Service) -> Iterator[MiniRec]:
    with MiniRec(base_url="http://testserver", api_key=KEY, http_client=service.http) as client:
        yield client


def exported(service: Service, selection_id: str, **params: Any) -> ZipFile:
    response = service.http.get(f"/v1/selections/{selection_id}/export", params=params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    name = f"{selection_id}-{params['format']}.zip"
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert int(response.headers["content-length"]) == len(response.content)
    return ZipFile(io.BytesIO(response.content))


def test_rows_are_the_subset_with_prompts_answers_and_scores(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, columns = finished
    lines = exported(service, selection_id, format="jsonl").read("train.jsonl").splitlines()
    sent = {row["id"]: row for row in rows_of(service.files[0])}
    titles = {item["item_id"]: item["title"] for item in rows_of(service.files[1])}
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == ORDER
    for position, row in enumerate(rows):
        n, sample = int(row["id"][1:]), sent[row["id"]]
        rewards = columns["rewards"][n]
        assert (row["item_id"], row["answer"], row["source"]) == (
            sample["target"],
            titles[sample["target"]],
            "shop/clicks",
        )
        told = [line.partition(": ")[2] for line in row["prompt"][0]["content"].splitlines() if line.startswith("- ")]
        assert told == [titles[item] for item in sample["history"][-2:]]
        assert (row["position"], row["rank"], row["stage"]) == (position, 5 - position, position // 4)
        assert row["scores"] == pytest.approx(
            {
                "pass_rate": np.mean(rewards > 0.5),
                "reward_mean": rewards.mean(),
                "reward_std": rewards.std(),
                "n_rollouts": 3,
                "learnability": columns["learnability"][n],
                "representativeness": columns["representativeness"][n],
            }
        )


@pytest.mark.parametrize("format", TARGETS)
def test_every_format_is_the_same_twice_and_says_where_it_is_from(
    service: Service, finished: tuple[str, Columns], format: str
) -> None:
    selection_id, _ = finished
    url = f"/v1/selections/{selection_id}/export"
    params: dict[str, str | int] = {"format": format, "batch_size": 4}
    archive = exported(service, selection_id, **params)
    assert service.http.get(url, params=params).content == service.http.get(url, params=params).content
    manifest = json.loads(archive.read("manifest.json"))
    selection = service.http.get(f"/v1/selections/{selection_id}").json()
    for name in ("id", "dataset_id", "request", "provenance", "result", "metadata"):
        assert manifest["selection"][name] == selection[name]
    dataset = service.http.get(f"/v1/datasets/{selection['dataset_id']}").json()
    assert manifest["selection"]["dataset_content_hash"] == dataset["content_hash"]
    assert manifest["counts"] == {"rows": 6, "stages": [4, 2]}
    assert manifest["prompt"]["window"] == 2
    if format not in ("verifiers", "llama-factory"):  # which drop no rows
        assert "multiple of a" in manifest["warnings"][-1]
    for name, told in manifest["files"].items():
        assert hashlib.sha256(archive.read(name)).hexdigest() == told["sha256"]


def test_verl_gets_the_source_that_was_asked_for_else_the_datasets_name(
    service: Service, finished: tuple[str, Columns]
) -> None:
    selection_id, _ = finished
    for params, expected in (({}, "shop/clicks"), ({"source": "openai/gsm8k"}, "openai/gsm8k")):
        archive = exported(service, selection_id, format="verl", **params)
        rows = pq.read_table(io.BytesIO(archive.read("train.parquet"))).to_pylist()
        assert {row["data_source"] for row in rows} == {expected}
        assert [row["extra_info"]["index"] for row in rows] == [35, 28, 21, 14, 7, 0]


def test_without_a_name_verl_asks_for_a_source(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).finish()
    response = service.http.get(f"/v1/selections/{selection_id}/export", params={"format": "verl"})
    assert field_errors(assert_problem(response, 422, "source_missing"))[0].loc == ["query", "source"]
    exported(service, selection_id, format="verl", source="mine")
    exported(service, selection_id, format="trl")


def test_without_vectors_representativeness_is_null(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).finish(vectors=False)
    table = pq.read_table(io.BytesIO(exported(service, selection_id, format="trl").read("train.parquet")))
    assert table["minirec_representativeness"].null_count == 6


def test_an_unfinished_selection_has_no_export(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    url = f"/v1/selections/{selection_id}/export?format=trl"
    assert_problem(service.http.get(url), 409, "not_finished")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "format"),
        ("format=xlsx", "format"),
        ("format=trl&batch_size=0", "batch_size"),
        ("format=trl&batch_size=1000001", "batch_size"),
        ("format=verl&source=", "source"),
    ],
)
def test_exports_say_what_is_wrong_with_the_query(service: Service, query: str, field: str) -> None:
    problem = assert_problem(service.http.get(f"/v1/selections/sel_1/export?{query}"), 422, "invalid_request")
    assert field_errors(problem)[0].loc == ["query", field]


@pytest.mark.parametrize("format", TARGETS)
def test_the_sdk_makes_a_folder_of_it(
    service: Service, client: MiniRec, finished: tuple[str, Columns], tmp_path: Path, format: Any
) -> None:
    selection_id, _ = finished
    folder = client.selections.export(selection_id, format=format, path=tmp_path / "a" / "b", batch_size=6, source="x")
    archive = exported(service, selection_id, format=format, batch_size=6, source="x")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: archive.read(name) for name in archive.namelist()
    }


def test_an_error_leaves_no_folder(client: MiniRec, finished: tuple[str, Columns], tmp_path: Path) -> None:
    with pytest.raises(UnprocessableError, match="batch_size"):
        client.selections.export(finished[0], format="trl", path=tmp_path / "new", batch_size=-1)
    assert list(tmp_path.glob("new*")) == []


def test_the_command_makes_a_folder_and_tells_the_warnings(
    service: Service, finished: tuple[str, Columns], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client(connection: Connection) -> MiniRec:
        return MiniRec(base_url="http://testserver", api_key=KEY, http_client=service.http)

    monkeypatch.setattr(Connection, "client", client)
    arguments = ["export", finished[0], "--format", "verl", "-o", str(tmp_path / "out"), "--batch-size", "4"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Warning: 6 rows are no multiple of a batch of 4" in done.stderr
    assert "6 samples written" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "manifest.json", "train.parquet"]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "is no empty folder" in again.stderr


def test_prompts_are_exported_as_they_were_sent(service: Service) -> None:
    dataset_id = service.upload_prompts()["id"]
    selection_id = service.select_by_signals(dataset_id, [f"p{n:03d}" for n in range(48)])["id"]
    StandIn(service.store, selection_id).finish()
    rows = [
        json.loads(line) for line in exported(service, selection_id, format="jsonl").read("train.jsonl").splitlines()
    ]
    assert [row["id"] for row in rows] == [f"p{7 * n:03d}" for n in range(6)][::-1]
    assert [row["answer"] for row in rows[-2:]] == [["Alien", "Amélie"], "2"]
    url = f"/v1/selections/{selection_id}/export"
    problem = assert_problem(service.http.get(url, params={"format": "verl"}), 422, "source_missing")
    assert "sample 'p035' has no source" in problem.detail
    archive = exported(service, selection_id, format="verl", source="mine")
    found = pq.read_table(io.BytesIO(archive.read("train.parquet"))).to_pylist()
    assert [row["data_source"] for row in found] == ["mine", "films", "openai/gsm8k"] * 2
