"""What a finished selection measured and chose comes out complete, in order, in every format."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.api_schemas import SampleExplanation, SampleRow, SampleScore, SelectionPlots, SubsetIds, SubsetRow
from minirec.api_schemas.selections import GATE_VERDICTS
from minirec.service import plots
from minirec.service.results import Result
from minirec.service.scores import deciding_number
from minirec.store.columns import Columns
from tests.api.conftest import Service
from tests.api.stand_in import StandIn, made_up_columns
from tests.api.test_datasets import rows_of
from tests.api.test_problems import assert_problem, field_errors

PICKED = [f"s{7 * n:03d}" for n in range(6)]
"""Ids in the order in which they were picked; training goes backwards through them."""


@pytest.fixture
def finished(service: Service) -> tuple[str, Columns]:
    """A finished selection and what was stored of it."""
    selection_id = service.select(service.upload()["id"])["id"]
    return selection_id, StandIn(service.store, selection_id).finish()


def all_scores(service: Service, selection_id: str, **params: Any) -> list[SampleScore]:
    """Every score, page by page."""
    found: list[SampleScore] = []
    after: dict[str, str] = {}
    while True:
        response = service.http.get(f"/v1/selections/{selection_id}/scores", params=params | after)
        assert response.status_code == 200, response.text
        page = response.json()
        found += [SampleScore.model_validate(row) for row in page["data"]]
        assert page["has_more"] == (page["next_after"] is not None)
        if not page["has_more"]:
            return found
        after = {"after": page["next_after"]}


@pytest.mark.parametrize("limit", [1, 7, 48, 1000])
def test_scores_come_in_the_order_of_the_pool(service: Service, finished: tuple[str, Columns], limit: int) -> None:
    selection_id, columns = finished
    scores = all_scores(service, selection_id, limit=limit)
    assert [score.id for score in scores] == [f"s{n:03d}" for n in range(48)]
    for n, score in enumerate(scores):
        rewards = columns["rewards"][n]
        assert score.rewards == rewards.tolist()
        assert (score.reward_mean, score.reward_std) == pytest.approx((rewards.mean(), rewards.std()), abs=1e-15)
        assert score.hit == [reward > 0.5 for reward in rewards]
        assert score.pass_rate == pytest.approx(np.mean(score.hit))
        for name in ("learnability", "learnability_raw", "representativeness", "score"):
            assert getattr(score, name) == columns[name][n]
        assert score.gate == ("open", "too_hard", "too_easy")[n % 3]
        assert score.gate_value == (None, rewards.max(), rewards.min())[n % 3]
        assert score.signal == ("policy", "teacher", "none")[n % 3]
        picked = n // 7 if n % 7 == 0 and n < 42 else None
        assert score.picked_rank == picked
        assert score.training_position == (None if picked is None else 5 - picked)


def test_each_verdict_comes_with_the_number_that_decided() -> None:
    rewards = np.array([0.5, 0.25, 0.75])
    numbers = {verdict: deciding_number(verdict, rewards) for verdict in GATE_VERDICTS}
    expected = {"open": None, "too_hard": 0.75, "too_easy": 0.25, "no_spread": pytest.approx(rewards.std())}
    assert numbers == expected


@pytest.mark.parametrize("limit", [4, 1000])
def test_scores_by_rank_begin_with_the_picked(service: Service, finished: tuple[str, Columns], limit: int) -> None:
    selection_id, _ = finished
    scores = all_scores(service, selection_id, order="rank", limit=limit)
    assert [score.id for score in scores[:6]] == PICKED
    rest = [score.score for score in scores[6:]]
    assert rest == sorted(rest, reverse=True)
    assert len({score.id for score in scores}) == 48


def test_scores_go_on_behind_any_sample_of_the_pool(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, _ = finished
    page = service.http.get(f"/v1/selections/{selection_id}/scores", params={"after": "s046"}).json()
    assert [row["id"] for row in page["data"]] == ["s047"]
    response = service.http.get(f"/v1/selections/{selection_id}/scores", params={"after": "nobody"})
    assert field_errors(assert_problem(response, 422, "invalid_cursor"))[0].loc == ["query", "after"]


def test_samples_outside_the_pool_have_no_scores(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    worker = StandIn(service.store, selection_id)
    worker.pool = 10
    columns = made_up_columns(10, picked=2)
    columns["row"] = np.arange(10) * 4 + 1
    worker.prepare()
    worker.embed()
    worker.score()
    worker.select(columns)
    scores = all_scores(service, selection_id, limit=3)
    assert [score.id for score in scores] == [f"s{4 * n + 1:03d}" for n in range(10)]
    response = service.http.get(f"/v1/selections/{selection_id}/scores", params={"after": "s002"})
    assert_problem(response, 422, "invalid_cursor")
    assert service.http.get(f"/v1/selections/{selection_id}/subset").json()["ids"] == ["s029", "s001"]


def test_without_vectors_there_is_no_representativeness(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).finish(vectors=False)
    assert {score.representativeness for score in all_scores(service, selection_id)} == {None}
    response = service.http.get(f"/v1/selections/{selection_id}/subset?format=parquet")
    assert pq.read_table(io.BytesIO(response.content))["representativeness"].null_count == 6


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"order": "rank"},
        {"order": "learnability", "ascending": "true", "picked": "false"},
        {"gate": "too_hard", "reward_max": "0.5"},
        {"gate": "open", "reward_min": "2"},
    ],
)
def test_the_scores_as_one_table_say_the_same(
    service: Service, finished: tuple[str, Columns], params: dict[str, str]
) -> None:
    selection_id, _ = finished
    url = f"/v1/selections/{selection_id}/scores.parquet"
    response = service.http.get(url, params=params)
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    assert response.headers["content-disposition"] == f'attachment; filename="{selection_id}-scores.parquet"'
    table = pq.read_table(io.BytesIO(response.content))
    assert set(table.column_names) == set(SampleScore.model_fields)
    rows = [SampleScore.model_validate(row) for row in table.to_pylist()]
    scores = all_scores(service, selection_id, **params)
    assert [row.id for row in rows] == [score.id for score in scores]
    for row, score in zip(rows, scores, strict=True):
        close = {"reward_mean", "reward_std", "gate_value"}
        assert row.model_dump(exclude=close) == score.model_dump(exclude=close)
        for name in close:
            assert getattr(row, name) == pytest.approx(getattr(score, name), abs=1e-15)
    first = pq.read_table(io.BytesIO(service.http.get(url, params=params | {"limit": "5"}).content))
    assert first == table.slice(0, 5)


def test_a_table_without_vectors_has_no_representativeness(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).finish(vectors=False)
    response = service.http.get(f"/v1/selections/{selection_id}/scores.parquet")
    assert pq.read_table(io.BytesIO(response.content))["representativeness"].null_count == 48


def test_the_subset_is_in_training_order(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, _ = finished
    subset = SubsetIds.model_validate(service.http.get(f"/v1/selections/{selection_id}/subset").json())
    assert (subset.selection_id, subset.ids, subset.groups) == (selection_id, PICKED[::-1], [0, 0, 0, 0, 1, 1])


def test_the_subset_as_json_lines_has_the_samples_as_they_were_sent(
    service: Service, finished: tuple[str, Columns]
) -> None:
    selection_id, columns = finished
    response = service.http.get(f"/v1/selections/{selection_id}/subset?format=jsonl")
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["content-disposition"] == f'attachment; filename="{selection_id}.jsonl"'
    rows = [SubsetRow.model_validate_json(line) for line in response.content.splitlines()]
    sent = {row["id"]: row for row in rows_of(service.files[0])}
    assert [row.id for row in rows] == PICKED[::-1]
    for position, row in enumerate(rows):
        n = int(row.id[1:])
        assert (row.position, row.picked_rank, row.group) == (position, 5 - position, position // 4)
        assert row.sample == sent[row.id]
        assert row.reward_mean == pytest.approx(columns["rewards"][n].mean())
        assert row.learnability == columns["learnability"][n]
        assert row.gate == ("open", "too_hard", "too_easy")[n % 3]
        SampleRow.model_validate(row.sample)


def test_the_subset_as_parquet_says_the_same(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, _ = finished
    url = f"/v1/selections/{selection_id}/subset"
    response = service.http.get(url, params={"format": "parquet"})
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    rows = pq.read_table(io.BytesIO(response.content)).to_pylist()
    for row in rows:
        row["sample"] = {name: value for name, value in row["sample"].items() if value is not None}
    lines = service.http.get(url, params={"format": "jsonl"}).content.splitlines()
    assert rows == [json.loads(line) for line in lines]


def test_results_are_there_only_once_there_is_success(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    for path in ("scores", "subset", "subset?format=jsonl"):
        problem = assert_problem(service.http.get(f"/v1/selections/{selection_id}/{path}"), 409, "not_finished")
        assert "queued" in problem.detail


def test_results_go_with_their_dataset(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, _ = finished
    all_scores(service, selection_id)
    dataset_id = service.http.get(f"/v1/selections/{selection_id}").json()["dataset_id"]
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200
    for path in ("scores", "subset", "subset?format=parquet"):
        assert_problem(service.http.get(f"/v1/selections/{selection_id}/{path}"), 410, "dataset_deleted")
    assert service.http.get(f"/v1/selections/{selection_id}").json()["status"] == "succeeded"


@pytest.mark.parametrize("query", ["scores?order=size", "scores?limit=1001", "scores?after=", "subset?format=csv"])
def test_results_say_what_is_wrong_with_the_query(service: Service, query: str) -> None:
    problem = assert_problem(service.http.get(f"/v1/selections/sel_1/{query}"), 422, "invalid_request")
    assert field_errors(problem)[0].loc == ["query", query.partition("?")[2].partition("=")[0]]


@pytest.mark.parametrize(
    ("filters", "keeps"),
    [
        ({"gate": "too_hard"}, lambda score: score.gate == "too_hard"),
        ({"picked": "true"}, lambda score: score.picked_rank is not None),
        ({"picked": "false", "gate": "open"}, lambda score: score.picked_rank is None and score.gate == "open"),
        ({"reward_min": 0.4, "reward_max": 0.6}, lambda score: 0.4 <= score.reward_mean <= 0.6),
        ({"learnability_min": 0.5}, lambda score: score.learnability >= 0.5),
        ({"representativeness_max": 0.5}, lambda score: score.representativeness <= 0.5),
        ({"reward_min": 2}, lambda score: False),
    ],
)
@pytest.mark.parametrize("limit", [5, 1000])
def test_scores_are_filtered(
    service: Service,
    finished: tuple[str, Columns],
    filters: dict[str, Any],
    keeps: Callable[[SampleScore], bool],
    limit: int,
) -> None:
    selection_id, _ = finished
    expected = [score.id for score in all_scores(service, selection_id) if keeps(score)]
    assert [score.id for score in all_scores(service, selection_id, limit=limit, **filters)] == expected


@pytest.mark.parametrize("order", ["score", "reward", "spread", "learnability", "representativeness"])
@pytest.mark.parametrize("ascending", [False, True])
def test_scores_are_sorted(service: Service, finished: tuple[str, Columns], order: str, ascending: bool) -> None:
    selection_id, _ = finished
    name = {"reward": "reward_mean", "spread": "reward_std"}.get(order, order)
    scores = all_scores(service, selection_id, order=order, ascending=ascending, limit=7)
    values = [getattr(score, name) for score in scores]
    assert values == sorted(values, reverse=not ascending)
    assert len({score.id for score in scores}) == 48


def test_a_cursor_that_does_not_fit_the_filters_is_refused(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, _ = finished
    params = {"after": "s000", "gate": "too_hard"}
    response = service.http.get(f"/v1/selections/{selection_id}/scores", params=params)
    assert field_errors(assert_problem(response, 422, "invalid_cursor"))[0].loc == ["query", "after"]


def test_one_sample_is_explained(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, columns = finished
    found = service.http.get(f"/v1/selections/{selection_id}/scores/s007").json()
    explained = SampleExplanation.model_validate(found)
    assert explained.score == next(score for score in all_scores(service, selection_id) if score.id == "s007")
    uploaded = next(row for row in rows_of(service.files[0]) if row["id"] == "s007")
    titles = {row["item_id"]: row["title"] for row in rows_of(service.files[1])}
    assert explained.sample == uploaded
    assert [item.title for item in explained.history] == [titles[item] for item in uploaded["history"]]
    assert explained.target is not None
    assert explained.target.title == titles[uploaded["target"]]
    assert [rollout.reward for rollout in explained.rollouts] == columns["rewards"][7].tolist()
    assert explained.texts_kept == 0
    assert explained.nearest_pick is None
    assert explained.reason == "backfilled"


@pytest.mark.parametrize(("sample", "reason"), [("s000", "picked"), ("s001", "gated"), ("s003", None)])
def test_why_a_sample_was_picked_or_not(
    service: Service, finished: tuple[str, Columns], sample: str, reason: str | None
) -> None:
    selection_id, _ = finished
    found = service.http.get(f"/v1/selections/{selection_id}/scores/{sample}").json()
    lowest = found["lowest_picked_score"]
    expected = reason or ("outscored" if found["score"]["score"] < lowest else "too_similar")
    assert found["reason"] == expected
    assert found["why"].endswith(".")


def test_a_sample_that_is_not_in_the_pool_cannot_be_explained(service: Service, finished: tuple[str, Columns]) -> None:
    for sample in ("nobody", "a/b", "%20"):
        response = service.http.get(f"/v1/selections/{finished[0]}/scores/{sample}")
        assert_problem(response, 404, "sample_not_found")


def test_plots_count_every_sample(service: Service, finished: tuple[str, Columns]) -> None:
    selection_id, columns = finished
    found = SelectionPlots.model_validate(service.http.get(f"/v1/selections/{selection_id}/plots").json())
    rewards = columns["rewards"].mean(axis=1)
    assert found.funnel.pool == sum(found.funnel.gated.values()) + found.funnel.open == 48
    assert found.funnel.picked == 6
    counts = found.rewards.counts
    assert sum(sum(counts[verdict]) for verdict in GATE_VERDICTS) == 48
    assert sum(counts["picked"]) == 6
    assert (found.rewards.edges[0], found.rewards.edges[-1]) == (rewards.min(), rewards.max())
    assert found.alignment is not None
    assert {name: sum(values) for name, values in found.alignment.counts.items()} == {"pool": 48, "picked": 6}
    assert found.points.ids[: found.points.picked] == PICKED
    assert sorted(found.points.ids) == [f"s{n:03d}" for n in range(48)]
    assert [step.reward for step in found.curriculum] == pytest.approx([rewards[7 * n] for n in (5, 4, 3, 2, 1, 0)])
    assert found.popularity is not None
    assert sum(step.pool for step in found.popularity) == 48
    assert sum(step.picked for step in found.popularity) == 6
    assert found.points.map_x is None


def test_plots_of_a_million_samples_are_small() -> None:
    size, ids = 10**6, pa.array([str(n) for n in range(10**6)])
    columns = made_up_columns(size, picked=10**5)
    result = Result("", columns, ids)
    points = plots._points(result, np.zeros((size, 2), np.float32))
    assert (len(points.ids), points.picked) == (3_000, 1_500)
    assert len(plots._curriculum(result)) == 500
    assert sum(step.reward for step in plots._curriculum(result)) / 500 == pytest.approx(
        result.reward_means[columns["picked_rank"] >= 0].mean()
    )


@pytest.mark.parametrize("value", [0.0, -3.5])
def test_a_histogram_of_one_value_has_it_in_the_middle(value: float) -> None:
    found = plots.histogram(np.full(5, value), {"pool": np.ones(5, bool)})
    assert sum(found.counts["pool"]) == 5
    assert found.edges[0] < value < found.edges[-1]
