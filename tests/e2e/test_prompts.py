"""Prompts through the whole stack: uploaded, selected by an installed reward, trained on by TRL, a worker killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from minirec.api_schemas import TextScore
from tests.e2e.stack import Stack
from tests.e2e.test_training_jobs import assert_same_adapter, wait_for_update

pytestmark = pytest.mark.slow

SELECTION: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "rewards": [{"name": "digits"}],
    "rollouts": {"group_size": 4, "max_new_tokens": 24, "temperature": 1.0},
}
ARGS = {"updates": 12, "grpo": {"batch_size": 4, "learning_rate": 0.003}}


@pytest.fixture(scope="module")
def selection_id(stack: Stack) -> str:
    with stack.client() as client:
        dataset = client.datasets.upload(prompts=stack.files / "prompts.jsonl")
        assert (dataset.kind, dataset.n_samples, dataset.splits) == (
            "prompts",
            40,
            {"train": 30, "valid": 5, "test": 5},
        )
        job = client.selections.create(dataset=dataset.id, **SELECTION)
        return client.selections.wait(job.id, timeout=180).id


def test_a_subset_of_prompts_comes_back_in_training_order(stack: Stack, selection_id: str) -> None:
    with stack.client() as client:
        rows = list(client.selections.subset_rows(selection_id))
        scores = {score.id: score for score in client.selections.scores(selection_id)}
    assert [row.position for row in rows] == list(range(12))
    assert {row.sample["prompt"][:8] for row in rows} == {"What is "}
    assert len(scores) == 30
    assert any(score.reward_mean > 0 for score in scores.values())


def test_a_killed_text_training_ends_with_the_same_adapter(stack: Stack, selection_id: str, tmp_path: Path) -> None:
    evaluation = {"every": 4}
    with stack.client() as client:
        job = client.training_jobs.create(selection=selection_id, trainer="text_grpo", args=ARGS, evaluation=evaluation)
        wait_for_update(client, job.id, 6)
        os.kill(stack.gpu_child(), signal.SIGKILL)
        killed = client.training_jobs.wait(job.id, timeout=240)
        assert killed.result is not None, stack.log()
        events = list(client.training_jobs.events(job.id))
        assert [event for event in events if event.type == "retry"], "the kill came too late to prove anything"
        metrics = [event.data for event in events if event.type == "metrics"]
        assert {event["update"] for event in metrics} == set(range(1, 13))
        assert {"loss", "reward_mean", "tokens_per_second"} <= set(metrics[0])
        client.training_jobs.download(job.id, tmp_path / "killed")
        args = ARGS | {"early_stopping": {"patience": 100}}
        other = client.training_jobs.create(
            selection=selection_id, trainer="text_grpo", args=args, evaluation=evaluation
        )
        undisturbed = client.training_jobs.wait(other.id, timeout=240)
        assert undisturbed.result == killed.result
        client.training_jobs.download(other.id, tmp_path / "undisturbed")
    assert_same_adapter(tmp_path / "killed", tmp_path / "undisturbed")
    assert isinstance(killed.result.test_after, TextScore)
    assert killed.result.test_after.samples == 5
    lines = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, 13))
    assert "mean reward" in (tmp_path / "killed" / "train.log").read_text()


def test_mathematics_is_compared_where_the_workers_run(stack: Stack) -> None:
    """The model is random: no answer of it is right, and one that is not a number is no error either."""
    rewards = [{"name": "digits"}, {"name": "math_answer"}]
    with stack.client() as client:
        dataset = client.datasets.upload(prompts=stack.files / "prompts.jsonl")
        job = client.selections.create(dataset=dataset.id, **SELECTION | {"rewards": rewards})
        done = client.selections.wait(job.id, timeout=240)
        assert done.status == "succeeded", stack.log()
        assert any(score.reward_mean > 0 for score in client.selections.scores(done.id))
