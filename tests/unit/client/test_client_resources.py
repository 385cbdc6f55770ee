"""What each method of the SDK asks, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import RolloutSettings, Selection, TextReward
from minirec.client import (
    APIConnectionError,
    AsyncMiniRec,
    DatasetWarning,
    JobCancelledError,
    JobFailedError,
    MiniRec,
    NotFoundError,
    WaitTimeoutError,
)
from minirec.client.warnings import dataset_warnings
from tests.unit.client.scripted_service import Script, event_json, problem, selection_json, sse

pytestmark = pytest.mark.usefixtures("both_clients")

DATASET = {
    "id": "ds_1",
    "created_at": 1.0,
    "n_samples": 2,
    "n_items": 3,
    "n_users": 1,
    "splits": {"train": 2},
    "content_hash": "0",
}
ROW = {
    "id": "a",
    "position": 0,
    "picked_rank": 1,
    "group": 0,
    "reward_mean": 0.5,
    "pass_rate": 1.0,
    "learnability": 1.0,
    "representativeness": None,
    "gate": "open",
    "sample": {"id": "a"},
}


def answer(body: object, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def state(status: str, scored: int = 0, **changes: object) -> httpx2.Response:
    return answer(selection_json(status, counts={"total": 8, "scored": scored}, **changes))


def stream(*chunks: bytes, broken: bool = False) -> Callable[[httpx2.Request], httpx2.Response]:
    """A fresh stream of events per request, which may break off at its end."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        def body() -> Iterator[bytes]:
            yield from chunks
            if broken:
                raise httpx2.ReadError("reset", request=request)

        return httpx2.Response(200, content=body(), headers={"content-type": "text/event-stream; charset=utf-8"})

    return respond


def test_environment_names_service_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_BASE_URL", "https://minirec.example/")
    monkeypatch.setenv("MINIREC_API_KEY", "from-env")
    seen: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return answer({"version": "1"})

    with MiniRec(http_client=httpx2.Client(transport=httpx2.MockTransport(handle))) as client:
        assert client.version().version == "1"
    assert str(seen[0].url) == "https://minirec.example/version"
    assert seen[0].headers["authorization"] == "Bearer from-env"


def test_create_sends_what_was_given_and_nothing_else() -> None:
    service = Script(answer(selection_json(), 202))
    service.client().selections.create(
        dataset="ds_1",
        model={"source": "local", "id": "smollm2"},
        size=0.1,
        rollouts=RolloutSettings(group_size=2),
        pool={"max_samples": 64},
        metadata={"run": "7"},
    )
    assert json.loads(service.requests[0].content) == {
        "dataset_id": "ds_1",
        "model": {"source": "local", "id": "smollm2"},
        "size": 0.1,
        "rollouts": {"group_size": 2},
        "pool": {"max_samples": 64},
        "metadata": {"run": "7"},
    }


def test_a_model_given_as_text_is_a_hub_id() -> None:
    service = Script(answer(selection_json(), 202))
    service.client().selections.create(dataset="ds_1", model="org/model", size=8)
    assert json.loads(service.requests[0].content)["model"] == {"source": "hub", "id": "org/model"}


def test_upload_sends_files_by_name_and_counts_their_bytes(tmp_path: Path) -> None:
    samples = tmp_path / "s.jsonl.gz"
    samples.write_bytes(b"x" * 200_000)
    service = Script(answer(DATASET, 201))
    seen: list[tuple[int, int]] = []
    dataset = service.client().datasets.upload(
        samples=samples,
        items=({"item_id": str(i), "title": "é"} for i in range(2)),
        name="cds",
        metadata={"a": "b"},
        timestamp_unit="ms",
        on_progress=lambda sent, total: seen.append((sent, total)),
    )
    body = service.requests[0].content
    assert dataset.n_samples == 2
    assert b'name="samples"; filename="s.jsonl.gz"' in body
    assert b'name="items"; filename="items.jsonl"' in body
    assert '{"item_id": "1", "title": "é"}\n'.encode() in body
    assert b'name="metadata"\r\n\r\n{"a": "b"}' in body
    assert b'name="timestamp_unit"\r\n\r\nms' in body
    total = 200_000 + 2 * len('{"item_id": "1", "title": "é"}\n'.encode())
    assert seen[-1] == (total, total)
    assert [sent for sent, _ in seen] == sorted(sent for sent, _ in seen)
    assert len(seen) > 2


def test_prompts_are_uploaded_as_one_file(tmp_path: Path) -> None:
    service = Script(answer(DATASET | {"kind": "prompts"}, 201))
    dataset = service.client().datasets.upload(prompts=[{"id": "p1", "prompt": "é"}], name="sums")
    assert dataset.kind == "prompts"
    assert b'name="prompts"; filename="prompts.jsonl"' in service.requests[0].content
    assert '{"id": "p1", "prompt": "é"}\n'.encode() in service.requests[0].content
    assert b'name="samples"' not in service.requests[0].content


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ("title", TypeError, r"prompts row 2 is str, not a mapping; give a path, a table with columns, or rows"),
        ({"id": {1, 2}}, TypeError, r"prompts row 2 cannot be written as JSON: .*set"),
        ({"id": float("nan")}, ValueError, r"prompts row 2 cannot be written as JSON"),
        ({"id": "\ud800"}, ValueError, r"prompts row 2 cannot be written as JSON: .*surrogates"),
    ],
)
def test_a_row_that_is_no_json_object_is_named(row: object, error: type[Exception], message: str) -> None:
    service = Script(answer(DATASET))
    with pytest.raises(error, match=message):
        service.client().datasets.upload(prompts=[{"id": "a"}, row])  # type: ignore[list-item]
    assert service.requests == []


def test_what_looks_odd_in_a_dataset_is_warned_of_at_the_callers_line() -> None:
    service = Script(answer(DATASET | {"name": "cds", "warnings": ["3 histories end after their target"]}, 201))
    with pytest.warns(DatasetWarning, match="cds: 3 histories end after their target") as caught:
        dataset = service.client().datasets.upload(prompts=[{"id": "a"}])
    assert list(dataset_warnings(dataset)) == ["3 histories end after their target"]
    if Script.runner is None:
        assert caught[0].filename == __file__


def test_a_dataset_without_warnings_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset_warnings(Script(answer(DATASET, 201)).client().datasets.upload(prompts=[{"id": "a"}])) == []


def test_a_file_whose_name_is_not_utf_8_is_sent_under_a_name_that_is(tmp_path: Path) -> None:
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"pr\xfcfung.jsonl"))
    Path(path).write_text("{}\n")
    service = Script(answer(DATASET, 201))
    service.client().datasets.upload(prompts=path)
    assert 'filename="pr\ufffdfung.jsonl"'.encode() in service.requests[0].content


def test_a_download_goes_to_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    target = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"pr\xfcfung.jsonl"))
    Script(httpx2.Response(200, content=b"x")).client().selections.download_subset("sel_1", target)
    assert os.listdir(os.fsencode(tmp_path)) == [b"pr\xfcfung.jsonl"]


@pytest.mark.parametrize("parts", [(), ("samples",), ("samples", "items", "prompts")])
def test_a_dataset_is_of_one_kind(parts: tuple[str, ...]) -> None:
    service = Script(answer(DATASET))
    with pytest.raises(TypeError, match="made of samples and items, or of prompts; given: "):
        service.client().datasets.upload(**dict.fromkeys(parts, []))  # type: ignore[arg-type]
    assert service.requests == []


def test_rewards_may_be_given_by_name() -> None:
    service = Script(answer(selection_json(), 202))
    rewards: list[Any] = ["exact_title", {"name": "token_f1", "weight": 0.5}, TextReward(name="mine", weight=2)]
    service.client().selections.create(dataset="ds_1", model="org/model", size=8, rewards=rewards)
    assert json.loads(service.requests[0].content)["rewards"] == [
        {"name": "exact_title"},
        {"name": "token_f1", "weight": 0.5},
        {"name": "mine", "weight": 2.0},
    ]


def test_a_name_in_place_of_a_list_of_rewards_is_refused() -> None:
    service = Script(answer(selection_json(), 202))
    with pytest.raises(TypeError, match=r"rewards=\['exact_title'\]"):
        service.client().selections.create(dataset="ds_1", model="org/model", size=8, rewards="exact_title")
    assert service.requests == []


def test_a_missing_file_is_the_callers_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        Script(answer(DATASET)).client().datasets.upload(samples=tmp_path / "nowhere.jsonl", items=[])


def test_lists_fetch_page_after_page() -> None:
    pages = [
        {"data": [selection_json(id="sel_3"), selection_json(id="sel_2")], "has_more": True, "next_after": "c1"},
        {"data": [selection_json(id="sel_1")], "has_more": False},
    ]
    service = Script(*map(answer, pages))
    found = [job.id for job in service.client().selections.list(status="queued", dataset="ds_1")]
    assert found == ["sel_3", "sel_2", "sel_1"]
    first, second = (dict(request.url.params) for request in service.requests)
    assert first == {"limit": "100", "status": "queued", "dataset_id": "ds_1"}
    assert second == first | {"after": "c1"}


def test_lists_fetch_no_page_before_it_is_needed() -> None:
    service = Script(answer({"data": [DATASET], "has_more": True, "next_after": "c"}))
    assert next(iter(service.client().datasets.list())).id == "ds_1"
    assert len(service.requests) == 1


def test_wait_reports_every_change_and_returns_the_finished_job() -> None:
    service = Script(state("queued"), state("running"), state("running", 4), state("succeeded", 8))
    seen: list[tuple[str, int]] = []
    done = service.client().selections.wait("sel_1", on_update=lambda s: seen.append((s.status, s.counts.scored)))
    assert done.status == "succeeded"
    assert seen == [("queued", 0), ("running", 0), ("running", 4), ("succeeded", 8)]
    assert service.pauses == []
    assert [request.url.params.get("wait") for request in service.requests] == [None, "30.000", "30.000", "30.000"]


def test_wait_is_polite_to_a_service_that_does_not_hold_requests() -> None:
    service = Script(state("running"), state("running"), state("running"), state("succeeded"))
    service.client().selections.wait("sel_1")
    assert service.pauses == [1.0, 1.0]


def test_wait_ends_in_time_and_the_job_is_in_the_error() -> None:
    service = Script(state("running"))
    with pytest.raises(WaitTimeoutError, match=r"sel_1 is still running after 2.5 s; it keeps running") as caught:
        service.client().selections.wait("sel_1", timeout=2.5)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.job.id == "sel_1"
    assert service.requests[-1].url.params["wait"] == "0.500"


def test_wait_survives_a_service_that_is_away_for_half_a_minute() -> None:
    service = Script(state("running"), *[httpx2.ConnectError("refused")] * 8, state("succeeded"))
    assert service.client().selections.wait("sel_1").status == "succeeded"
    assert sum(service.pauses) > 25


def test_wait_raises_with_the_job_where_it_failed_or_was_cancelled() -> None:
    failed = state("failed", error={"code": "model_not_found", "message": "no such model"})
    with pytest.raises(JobFailedError, match="no such model") as caught:
        Script(failed).client().selections.wait("sel_1")
    assert caught.value.job.status == "failed"
    with pytest.raises(JobCancelledError):
        Script(state("cancelled")).client().selections.wait("sel_1")


def test_events_resume_behind_the_last_one_seen() -> None:
    service = Script(
        stream(sse(event_json(1), event_json(2)), broken=True),
        httpx2.ConnectError("refused"),
        stream(sse(event_json(3), event_json(4, "status", status="succeeded"), event_json(5))),
    )
    events = list(service.client(max_retries=0).selections.events("sel_1", after="0"))
    assert [event.id for event in events] == ["1", "2", "3", "4"]
    assert [request.headers.get("last-event-id") for request in service.requests] == ["0", "2", "2"]
    assert all(request.headers["accept"] == "text/event-stream" for request in service.requests)


def test_events_cut_in_the_middle_are_not_handed_out() -> None:
    whole = sse(event_json(1), event_json(2, "status", status="failed"))
    service = Script(stream(whole[:-10], broken=True), stream(sse(event_json(2, "status", status="failed"))))
    assert [event.id for event in service.client().selections.events("sel_1")] == ["1", "2"]


def test_events_of_a_job_that_is_over_end_without_waiting() -> None:
    service = Script(httpx2.Response(204, headers={"Content-Type": "text/event-stream"}))
    assert list(service.client().selections.events("sel_1", after="9")) == []
    assert len(service.requests) == 1


def test_a_stream_that_breaks_before_its_first_event_is_asked_again_however_the_job_goes_on() -> None:
    """The service ends it where its Redis is away; the job may be over by the time that it is back."""
    rest = sse(event_json(3), event_json(4, "status", status="succeeded"))
    service = Script(stream(sse(event_json(2))), stream(b""), stream(b": ping\n\n"), stream(rest))
    assert [event.id for event in service.client().selections.events("sel_1")] == ["2", "3", "4"]


def test_events_reconnect_where_the_service_closes_a_running_jobs_stream() -> None:
    service = Script(stream(b": ping\n\n"), stream(sse(event_json(1, "status", status="cancelled"))))
    assert [event.id for event in service.client().selections.events("sel_1")] == ["1"]


def test_events_give_up_on_a_service_that_stays_away() -> None:
    service = Script(httpx2.ConnectError("refused"))
    with pytest.raises(APIConnectionError):
        list(service.client().selections.events("sel_1"))
    assert len(service.requests) == 11


def test_scores_iterate_over_all_pages() -> None:
    score = {
        "reward_mean": 0.5,
        "reward_std": 0.1,
        "rewards": [0.4, 0.6],
        "hit": [True, True],
        "pass_rate": 1.0,
        "learnability": 1.0,
        "learnability_raw": 1.0,
        "representativeness": 0.2,
        "score": 1.2,
        "gate": "open",
        "signal": "policy",
    }
    service = Script(
        answer({"data": [score | {"id": "a"}], "has_more": True, "next_after": "1"}),
        answer({"data": [score | {"id": "b"}], "has_more": False}),
    )
    assert [row.id for row in service.client().selections.scores("sel_1", order="rank")] == ["a", "b"]
    assert service.requests[1].url.params["order"] == "rank"


def test_subset_rows_come_in_training_order() -> None:
    lines = "".join(json.dumps(ROW | {"id": name}) + "\n" for name in "abc").encode()
    service = Script(httpx2.Response(200, content=lines))
    assert [row.id for row in service.client().selections.subset_rows("sel_1")] == ["a", "b", "c"]


def test_a_download_that_breaks_is_started_again_and_comes_out_whole(tmp_path: Path) -> None:
    service = Script(stream(b"half", broken=True), stream(b"whole", b" file"))
    path = service.client().selections.download_subset("sel_1", tmp_path / "subset.parquet", format="parquet")
    assert path.read_bytes() == b"whole file"
    assert [file.name for file in tmp_path.iterdir()] == ["subset.parquet"]
    assert service.requests[0].url.params["format"] == "parquet"


def test_a_download_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "subset.jsonl"
    target.write_text("before")
    with pytest.raises(NotFoundError):
        Script(problem(404)).client().selections.download_subset("sel_1", target)
    assert target.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_async_client_does_the_same(tmp_path: Path) -> None:
    answers: list[Any] = [
        answer(DATASET, 201),
        answer(selection_json(), 202),
        state("running"),
        state("succeeded", 8),
        stream(sse(event_json(1, "status", status="succeeded"))),
        answer({"data": [selection_json()], "has_more": False}),
        httpx2.Response(200, content=json.dumps(ROW).encode()),
        httpx2.Response(200, content=b"file"),
    ]

    def handle(request: httpx2.Request) -> httpx2.Response:
        found = answers.pop(0)
        response: httpx2.Response = found(request) if callable(found) else found
        return response

    async def use() -> tuple[Selection, list[str], list[str], list[str]]:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
        async with AsyncMiniRec(base_url="http://service.test", http_client=http) as client:
            dataset = await client.datasets.upload(samples=[{"id": "a"}], items=[])
            job = await client.selections.create(dataset=dataset.id, model="org/model", size=8)
            done = await client.selections.wait(job.id)
            events = [event.id async for event in client.selections.events(job.id)]
            jobs = [job.id async for job in client.selections.list()]
            rows = [row.id async for row in client.selections.subset_rows(job.id)]
            await client.selections.download_subset(job.id, tmp_path / "s.jsonl")
            return done, events, jobs, rows

    answers[4] = lambda request: httpx2.Response(
        200,
        content=sse(event_json(1, "status", status="succeeded")),
        headers={"content-type": "text/event-stream"},
    )
    done, events, jobs, rows = asyncio.run(use())
    assert (done.status, events, jobs, rows) == ("succeeded", ["1"], ["sel_1"], ["a"])
    assert (tmp_path / "s.jsonl").read_bytes() == b"file"


def test_lists_ask_for_what_they_are_to_find() -> None:
    service = Script(*(answer({"data": [], "has_more": False}) for _ in range(2)))
    client = service.client()
    assert list(client.datasets.list(name="movies", content_hash="0" * 64)) == []
    assert list(client.selections.list(metadata={"run": "first", "team": "a b"})) == []
    sent = [dict(request.url.params) for request in service.requests]
    assert (sent[0]["name"], sent[0]["content_hash"]) == ("movies", "0" * 64)
    assert (sent[1]["metadata[run]"], sent[1]["metadata[team]"]) == ("first", "a b")


def test_models_and_rewards_are_listed() -> None:
    row = {"id": "mdl_1", "model": {"source": "hub", "id": "a/b"}, "jobs": 1, "created_at": 1.0, "last_used_at": 2.0}
    pages = [
        {"data": [row], "has_more": True, "next_after": "mdl_1"},
        {"data": [row | {"id": "mdl_0"}], "has_more": False},
    ]
    service = Script(*map(answer, pages))
    found = list(service.client().models.list(after="mdl_2"))
    assert [(model.id, model.model.id) for model in found] == [("mdl_1", "a/b"), ("mdl_0", "a/b")]
    assert [request.url.params["after"] for request in service.requests] == ["mdl_2", "mdl_1"]
    rewards = [{"name": "exact_title", "built_in": True, "summary": "1 if", "needs_answer": True}]
    service = Script(answer({"data": rewards, "has_more": False}))
    assert [reward.name for reward in service.client().rewards.list()] == ["exact_title"]
