"""One test of the SDK for a stack that is served and one that the script starts itself, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minirec import AsyncMiniRec, MiniRec
from minirec.client import JobCancelledError, NotFoundError, UnprocessableError
from tests.e2e.stack import Stack
from tests.unit.client.driven import Driven

SETTINGS: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "rollouts": {"group_size": 2, "max_new_tokens": 8},
    "weights": {"gate": {"enabled": False}},
}


@dataclass(frozen=True)
class Place:
    """Where a service is, and how it is reached."""

    client: Any
    files: Path


@pytest.fixture(scope="module", params=["served", "local"])
def options(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """How a client is made; a stack of its own is held by the first one."""
    if request.param == "served":
        yield False, {"base_url": stack.url, "api_key": stack.key}
        return
    local: dict[str, Any] = {"data_dir": tmp_path_factory.mktemp("local"), "models_dir": stack.data_dir / "models"}
    with MiniRec.local(**local):
        yield True, local


@pytest.fixture(scope="module", params=["sync", "async"])
def place(request: pytest.FixtureRequest, options: Any, stack: Stack) -> Iterator[Place]:
    local, given = options
    if request.param == "sync":
        with MiniRec.local(**given) if local else MiniRec(**given) as client:
            yield Place(client, stack.files)
        return
    with asyncio.Runner() as runner:
        later = runner.run(AsyncMiniRec.local(**given)) if local else AsyncMiniRec(**given)
        yield Place(Driven(runner, later), stack.files)
        runner.run(later.close())


def test_from_files_to_a_subset(place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client = place.client
    dataset = client.datasets.upload(place.files / "samples.jsonl", place.files / "items.jsonl", name="first")
    assert dataset.id in [each.id for each in client.datasets.list(limit=20)]

    selection = client.selections.create(dataset=dataset, **SETTINGS)
    selection.wait(timeout=300, progress=True)
    assert (selection.status, selection.result.selected) == ("succeeded", 12)
    assert f"{selection.id} succeeded after 0:" in capfd.readouterr().err
    assert next(iter(client.selections.list(dataset=dataset, limit=1))).refresh().id == selection.id

    rows = list(selection.scores(order="rank"))
    table = selection.scores(order="rank").to_arrow()
    assert table["id"].to_pylist() == [row.id for row in rows]
    assert table["score"].to_pylist() == [row.score for row in rows]
    frame, polars = selection.scores().to_pandas(), selection.scores(picked=True).to_polars()
    assert len(frame) == selection.result.pool_size
    assert sorted(frame["picked_rank"].dropna()) == list(range(12)) == sorted(polars["picked_rank"].to_list())

    explained = selection.explain(rows[0])
    assert (explained.score.id, explained.reason) == (rows[0].id, "picked")
    assert "sample_explanation" in explained._repr_html_()
    assert selection.subset().ids == [row.id for row in selection.subset_rows()]
    assert selection.download_subset(tmp_path / "subset.parquet", format="parquet").stat().st_size > 0
    assert (selection.export(format="trl", path=tmp_path / "trl") / "manifest.json").exists()

    raw = client.selections.with_raw_response.retrieve(selection)
    assert raw.request_id
    assert raw.parsed.status == "succeeded"
    selection.delete()
    with pytest.raises(NotFoundError):
        selection.refresh()


def test_a_job_is_cancelled_and_resumed(place: Place) -> None:
    client = place.client
    dataset = client.datasets.upload(place.files / "samples.jsonl", place.files / "items.jsonl")
    settings = SETTINGS | {"rollouts": {"group_size": 8, "max_new_tokens": 64}, "pool": {"seed": 7}}
    job = client.selections.create(dataset=dataset, **settings)
    assert job.cancel().status in ("cancelling", "cancelled")
    with pytest.raises(JobCancelledError):
        job.wait(timeout=60)
    assert job.status == "cancelled"
    assert job.retry().status in ("queued", "running")
    job.cancel()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "10%"}, "size: should be"),
        ({"size": 0}, "size: should be greater than 0"),
        ({"rollouts": {"group_size": 2, "top_kk": 5}}, "rollouts.top_kk: is not a known field"),
        ({"model": {"source": "disk", "id": "tiny"}}, "model.source: should be 'hub' or 'local'"),
        ({"dataset": "first"}, "dataset_id: should be an id as the service returned it, ds_..."),
    ],
)
def test_what_is_wrong_is_said_in_our_words(place: Place, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UnprocessableError) as caught:
        place.client.selections.create(**({"dataset": "ds_1"} | SETTINGS | settings))
    text = str(caught.value)
    assert words in text, text
    assert not any(each in text for each in ("Value error", "constrained", "Input should", "pattern", "Extra inputs"))
