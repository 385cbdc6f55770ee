"""The main job through the whole stack: REST, Redis, Celery, a real model; and what happens when a worker is killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import Selection
from minirec.client import MiniRec
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "rollouts": {"group_size": 2, "max_new_tokens": 8},
    "weights": {"gate": {"enabled": False}},
    "curriculum": {"group_size": 4},
}


@pytest.fixture(scope="module")
def dataset_id(stack: Stack) -> str:
    with stack.client() as client:
        return client.datasets.upload(samples=stack.files / "samples.jsonl", items=stack.files / "items.jsonl").id


def test_a_selection_comes_back_as_an_ordered_subset(stack: Stack, dataset_id: str) -> None:
    with stack.client() as client:
        seen: list[Selection] = []
        job = client.selections.create(dataset=dataset_id, **SETTINGS)
        done = client.selections.wait(job.id, timeout=120, on_update=seen.append)
        assert done.status == "succeeded"
        assert done.result is not None
        assert done.result.selected == 12
        subset = client.selections.subset(job.id)
        assert len(set(subset.ids)) == 12
        scores = list(client.selections.scores(job.id))
        assert len(scores) == 48
        assert {score.id for score in scores if score.training_position is not None} == set(subset.ids)
        assert [event.type for event in client.selections.events(job.id)][-1] == "status"


def test_workers_say_that_they_live_and_what_they_have_done(stack: Stack, dataset_id: str) -> None:
    with httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}) as http:
        workers = http.get("/v1/workers").json()["data"]
        assert {tuple(worker["queues"]) for worker in workers} == {("cpu",), ("gpu", "train")}
        assert f"{socket.gethostname()}/{stack.gpu_child()}" in {worker["name"] for worker in workers}
        metrics = http.get("/metrics").text
    assert 'minirec_units_total{handler="score",outcome="committed"}' in metrics
    samples = next(line for line in metrics.splitlines() if line.startswith('minirec_samples_total{handler="score"}'))
    assert float(samples.split()[-1]) >= 48


def test_the_same_request_gives_the_same_picks_and_scores_once(stack: Stack, dataset_id: str) -> None:
    with stack.client() as client:
        first, second = (
            client.selections.wait(client.selections.create(dataset=dataset_id, **SETTINGS).id, timeout=120)
            for _ in range(2)
        )
        assert client.selections.subset(first.id).ids == client.selections.subset(second.id).ids
        assert second.counts.cached == 48


def test_killing_the_worker_in_mid_shard_changes_nothing(stack: Stack, dataset_id: str) -> None:
    # Another seed, so that nothing of it is cached; long reasoning, so that there is a middle to be killed in.
    settings = SETTINGS | {"rollouts": {"group_size": 4, "max_new_tokens": 256, "seed": 7, "ndcg_k": 998}}
    with stack.client() as client:
        job = client.selections.create(dataset=dataset_id, **settings)
        _wait_until_scoring(client, job.id)
        os.kill(stack.gpu_child(), signal.SIGKILL)
        killed = client.selections.wait(job.id, timeout=180)
        assert killed.status == "succeeded", stack.log()
        retries = [event for event in client.selections.events(job.id) if event.type == "retry"]
        assert retries, "no shard was lost: the kill came too late to prove anything"
        expected = client.selections.subset(job.id).ids
        scores = {score.id: score.rewards for score in client.selections.scores(job.id)}

        # The same work undisturbed: K beyond the catalogue's size changes no reward, but is scored anew.
        settings["rollouts"] |= {"ndcg_k": 999}
        again = client.selections.create(dataset=dataset_id, **settings)
        undisturbed = client.selections.wait(again.id, timeout=180)
        assert undisturbed.counts.cached == 0
        assert client.selections.subset(again.id).ids == expected
        assert {score.id: score.rewards for score in client.selections.scores(again.id)} == scores


def _wait_until_scoring(client: MiniRec, job: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        current = client.selections.retrieve(job)
        if current.stage == "scoring" and 0 < current.counts.scored < 48:
            return
        assert current.status in ("queued", "running"), current
        time.sleep(0.05)
    raise AssertionError("scoring did not begin")
