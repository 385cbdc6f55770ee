"""Scores as tables, answers with their headers, and what notebooks show."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.api_schemas import Dataset, Selection
from minirec.client import NotFoundError, RawResponse
from tests.unit.client.scripted_service import Script, problem, selection_json
from tests.unit.client.test_live_jobs import DATASET, SCORE, answer

pytestmark = pytest.mark.usefixtures("both_clients")

TABLE = pa.table({"id": ["a", "b"], "score": [0.5, 0.25], "rewards": [[0.0, 1.0], [0.5]], "picked_rank": [0, None]})


def parquet(table: pa.Table = TABLE) -> httpx2.Response:
    file = io.BytesIO()
    pq.write_table(table, file)
    return httpx2.Response(200, content=file.getvalue())


def test_scores_are_a_table_in_one_request() -> None:
    service = Script(parquet())
    scores = service.client().selections.scores("sel_1", order="rank", picked=True, gate="open", limit=7)
    assert scores.to_arrow().equals(TABLE)
    request = service.requests[0]
    assert request.url.path == "/v1/selections/sel_1/scores.parquet"
    assert dict(request.url.params) == {"order": "rank", "picked": "true", "gate": "open", "limit": "7"}
    frame = scores.to_pandas()
    assert frame["picked_rank"].dtype.name == "Int64"
    assert frame["picked_rank"].isna().tolist() == [False, True]
    assert scores.to_polars()["rewards"].to_list() == [[0.0, 1.0], [0.5]]
    assert len(service.requests) == 3


def test_a_selection_has_its_scores() -> None:
    service = Script(answer(selection_json("succeeded")), answer({"data": [SCORE], "has_more": False}), parquet())
    selection = service.client().selections.retrieve("sel_1")
    assert [score.id for score in selection.scores(order="learnability", ascending=True)] == ["u7-3"]
    assert dict(service.requests[-1].url.params) == {"order": "learnability", "ascending": "true", "limit": "1000"}
    assert selection.scores().to_polars()["id"].to_list() == ["a", "b"]


@pytest.mark.parametrize(("method", "missing"), [("arrow", "pyarrow"), ("pandas", "pandas"), ("polars", "polars")])
def test_a_library_that_is_missing_is_named_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, method: str, missing: str
) -> None:
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    service = Script(parquet())
    with pytest.raises(ModuleNotFoundError, match=f"pip install {missing}"):
        getattr(service.client().selections.scores("sel_1"), f"to_{method}")()
    assert service.requests == []


def test_an_answer_comes_with_its_headers() -> None:
    service = Script(httpx2.Response(200, json=selection_json(), headers={"x-request-id": "req_7"}))
    client = service.client()
    raw = client.selections.with_raw_response.retrieve("sel_1")
    assert isinstance(raw, RawResponse)
    assert (raw.status_code, raw.request_id, raw.parsed.id) == (200, "req_7", "sel_1")
    assert raw.http_response.json()["status"] == "queued"
    service.answers = [answer(DATASET)]
    assert client.datasets.with_raw_response.retrieve("ds_1").parsed.n_samples == 2
    assert client.datasets.retrieve("ds_1").n_samples == 2, "the client itself is as it was"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.selections.with_raw_response.list(),
        lambda client: client.selections.with_raw_response.scores("sel_1"),
        lambda client: client.selections.with_raw_response.events("sel_1"),
    ],
)
def test_what_is_iterated_over_has_no_one_answer(call: Callable[[Any], Any]) -> None:
    service = Script(answer({}))
    with pytest.raises(TypeError, match="sends nothing before it is iterated over"):
        call(service.client())
    assert service.requests == []


def test_errors_are_raised_as_ever() -> None:
    with pytest.raises(NotFoundError):
        Script(problem(404)).client().selections.with_raw_response.retrieve("sel_1")
    with pytest.raises(AttributeError, match="retrive"):
        Script(problem(404)).client().selections.with_raw_response.retrive("sel_1")


def test_notebooks_show_what_is_known_and_nothing_that_people_wrote_is_markup() -> None:
    service = Script(answer(selection_json("running", stage="scoring", metadata={"run": "<b>7</b>"})))
    shown = service.client().selections.retrieve("sel_1")._repr_html_()
    assert "<th>status</th><td>running</td>" in shown
    assert "<th>created_at</th><td>1970-01-01 00:00:01 UTC</td>" in shown
    assert "&lt;b&gt;7&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "<th>error</th>" not in shown, "there is none"
    assert "<th>n_samples</th><td>2</td>" in Dataset(**DATASET)._repr_html_()
    long = Selection(**selection_json(metadata={str(n): "x" * 500 for n in range(9)}))._repr_html_()
    assert len(long) < 3_000


def test_a_client_says_where_it_is_and_not_how() -> None:
    client = Script(answer({})).client(base_url="http://user:hidden@service.test", api_key="secret")
    assert repr(getattr(client, "_inner", client)).endswith("MiniRec of http://service.test>")
