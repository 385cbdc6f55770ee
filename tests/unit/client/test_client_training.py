"""What `client.training_jobs` asks, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import EvaluationSettings, TrainingArgs
from minirec.client import AsyncMiniRec, JobFailedError, MiniRecError
from tests.unit.client.scripted_service import Script, training_job_json

pytestmark = pytest.mark.usefixtures("both_clients")

FILES = {"adapter_config.json": b"{}", "train.log": b"done\n"}


def answer(body: object, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def files(request: httpx2.Request) -> httpx2.Response:
    name = request.url.path.rpartition("/")[2]
    if name == "artifacts":
        rows = [{"name": name, "bytes": len(content)} for name, content in FILES.items()]
        return answer({"data": rows, "has_more": False})
    return httpx2.Response(200, content=FILES[name])


def test_create_sends_what_was_given_and_nothing_else() -> None:
    service = Script(answer(training_job_json(), 202))
    service.client().training_jobs.create(
        selection="sel_1",
        args=TrainingArgs(updates=3),
        evaluation=EvaluationSettings(test_samples=0),
        metadata={"run": "7"},
    )
    assert service.requests[0].url.path == "/v1/training_jobs"
    assert json.loads(service.requests[0].content) == {
        "selection_id": "sel_1",
        "args": {"updates": 3},
        "evaluation": {"test_samples": 0},
        "metadata": {"run": "7"},
    }


def test_a_job_on_ids_keeps_their_order() -> None:
    service = Script(answer(training_job_json(), 202))
    service.client().training_jobs.create(dataset="ds_1", ids=("b", "a"), model="org/model")
    assert json.loads(service.requests[0].content) == {
        "dataset_id": "ds_1",
        "ids": ["b", "a"],
        "model": {"source": "hub", "id": "org/model"},
    }


def test_a_started_job_can_be_waited_for() -> None:
    service = Script(
        answer(training_job_json(status="queued"), 202),
        answer(training_job_json(status="running")),
        answer(training_job_json(status="succeeded")),
    )
    seen: list[str] = []
    done = service.client().training_jobs.create(selection="sel_1").wait(on_update=lambda job: seen.append(job.status))
    assert (done.status, seen) == ("succeeded", ["running", "succeeded"])


def test_a_trainer_of_text_has_rewards_by_name() -> None:
    service = Script(answer(training_job_json(), 202))
    args: dict[str, Any] = {"updates": 3, "rewards": ["exact_answer", {"name": "token_f1", "weight": 0.5}]}
    service.client().training_jobs.create(selection="sel_1", trainer="text_grpo", args=args)
    assert json.loads(service.requests[0].content) == {
        "selection_id": "sel_1",
        "trainer": "text_grpo",
        "args": {"updates": 3, "rewards": [{"name": "exact_answer"}, {"name": "token_f1", "weight": 0.5}]},
    }
    assert args["rewards"][0] == "exact_answer", "the caller's own stays as it is"


def test_wait_hears_of_every_update() -> None:
    states = [training_job_json("running", stage="training", updates_done=done) for done in (1, 1, 2)]
    service = Script(*map(answer, [*states, training_job_json("succeeded")]))
    seen: list[int] = []
    done = service.client().training_jobs.wait("trn_1", on_update=lambda job: seen.append(job.updates_done))
    assert (done.status, seen) == ("succeeded", [1, 2, 0])


def test_a_failed_job_is_raised_by_name() -> None:
    error = {"code": "training_failed", "message": "the gradient is not finite", "stage": "training"}
    service = Script(answer(training_job_json("failed", error=error)))
    with pytest.raises(JobFailedError, match="training job trn_1 failed while training: the gradient") as caught:
        service.client().training_jobs.wait("trn_1")
    assert caught.value.job.id == "trn_1"


def test_download_writes_every_file_into_a_folder(tmp_path: Path) -> None:
    written = Script(files).client().training_jobs.download("trn_1", tmp_path / "new" / "adapter")
    assert {path.name: path.read_bytes() for path in written} == FILES
    assert sorted(path.name for path in (tmp_path / "new" / "adapter").iterdir()) == sorted(FILES)


def test_the_async_client_downloads_just_so(tmp_path: Path) -> None:
    async def download() -> None:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(files))
        async with AsyncMiniRec(base_url="http://service.test", http_client=http) as client:
            await client.training_jobs.download("trn_1", tmp_path)

    asyncio.run(download())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize("name", [".bashrc", "", "../x", "a/b", "a\0b", "C:x"])
def test_a_file_with_another_name_than_a_plain_one_is_not_downloaded(tmp_path: Path, name: str) -> None:
    service = Script(answer({"data": [{"name": name, "bytes": 1}], "has_more": False}), httpx2.Response(200))
    with pytest.raises(MiniRecError, match="not a plain name"):
        service.client().training_jobs.download("trn_1", tmp_path)
    assert list(tmp_path.iterdir()) == []
