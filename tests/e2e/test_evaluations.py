"""An evaluation through the whole stack, asked for by the command; and the end of the jobs that it followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minirec.api_schemas import Evaluation
from minirec.client import ConflictError, NotFoundError
from tests.builders import with_splits
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset_id(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    samples = with_splits(Path(shutil.copy(stack.files / "samples.jsonl", tmp_path_factory.mktemp("splits"))))
    with stack.client() as client:
        return client.datasets.upload(samples=samples, items=stack.files / "items.jsonl").id


def minirec(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "minirec.cli.main", *arguments]
    environment = os.environ | {"MINIREC_BASE_URL": stack.url, "MINIREC_API_KEY": stack.key}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, check=False)


def test_the_command_evaluates_a_model(stack: Stack, dataset_id: str) -> None:
    options = ["--model", "tiny", "--local", "--set", "rollouts.max_new_tokens=8"]
    done = minirec(stack, "evaluate", dataset_id, *options, "--json")
    assert done.returncode == 0, done.stderr + stack.log()
    job = Evaluation.model_validate(json.loads(done.stdout))
    assert job.result is not None
    assert job.result.ranking is not None
    assert job.result.samples == job.samples_done == job.samples_total
    assert job.result.ranking.hr["50"] >= job.result.ranking.hr["5"]
    listed = minirec(stack, "list", "--kind", "evaluation")
    assert job.id in listed.stdout
    assert "succeeded" in listed.stdout
    again = minirec(stack, "evaluate", dataset_id, *options)
    assert f"{job.result.ranking.ndcg['10']:.4f}" in again.stdout
    with stack.client() as client:
        events = [event.type for event in client.evaluations.events(job.id)]
    assert events.count("evaluation") == 1


def test_jobs_are_deleted_once_nothing_that_runs_needs_them(stack: Stack, dataset_id: str) -> None:
    with stack.client() as client:
        rollouts = {"group_size": 2, "max_new_tokens": 8}
        selection = client.selections.create(
            dataset=dataset_id, model={"source": "local", "id": "tiny"}, size=8, rollouts=rollouts
        ).wait(timeout=180)
        training = client.training_jobs.create(
            selection=selection.id, args={"updates": 50}, evaluation={"valid_samples": 0, "test_samples": 0}
        )
        with pytest.raises(ConflictError) as caught:
            client.selections.delete(selection.id)
        assert caught.value.problem.context == {"job_id": training.id}
        client.training_jobs.cancel(training.id)
        with pytest.raises(Exception, match="cancelled"):
            client.training_jobs.wait(training.id, timeout=60)
        done = minirec(stack, "delete", training.id, selection.id)
        assert done.stdout.splitlines() == [f"{training.id} deleted", f"{selection.id} deleted"], done.stderr
        with pytest.raises(NotFoundError):
            client.selections.retrieve(selection.id)
    gone = minirec(stack, "delete", selection.id)
    assert gone.returncode == 1
    assert f"there is no selection {selection.id}" in gone.stderr
