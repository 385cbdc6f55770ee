"""A training job through the whole stack, and what happens when its worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from minirec.client import MiniRec
from tests.builders import with_splits
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

SELECTION: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "rollouts": {"group_size": 4, "max_new_tokens": 64},
    "weights": {"gate": {"enabled": False}},
}
ARGS = {"updates": 12, "grpo": {"batch_size": 6, "learning_rate": 0.003}}
EVALUATION = {"every": 4}


@pytest.fixture(scope="module")
def selection_id(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    samples = with_splits(Path(shutil.copy(stack.files / "samples.jsonl", tmp_path_factory.mktemp("splits"))))
    with stack.client() as client:
        dataset = client.datasets.upload(samples=samples, items=stack.files / "items.jsonl")
        job = client.selections.create(dataset=dataset.id, **SELECTION)
        return client.selections.wait(job.id, timeout=180).id


def test_a_killed_worker_costs_no_step_and_changes_no_weight(stack: Stack, selection_id: str, tmp_path: Path) -> None:
    with stack.client() as client:
        job = client.training_jobs.create(selection=selection_id, args=ARGS, evaluation=EVALUATION)
        wait_for_update(client, job.id, 6)
        os.kill(stack.gpu_child(), signal.SIGKILL)
        killed = client.training_jobs.wait(job.id, timeout=180)
        assert killed.status == "succeeded", stack.log()
        assert killed.result is not None
        assert killed.result.updates == 12
        events = list(client.training_jobs.events(job.id))
        assert [event for event in events if event.type == "retry"], "the kill came too late to prove anything"
        updates = [event.data["update"] for event in events if event.type == "metrics"]
        assert sorted(set(updates)) == list(range(1, 13))
        assert len(updates) - 12 <= 5, f"more than five updates were done twice: {updates}"
        client.training_jobs.download(job.id, tmp_path / "killed")

        # The same undisturbed; patience that never runs out changes nothing but the name of the work.
        args = ARGS | {"early_stopping": {"patience": 100}}
        other = client.training_jobs.create(selection=selection_id, args=args, evaluation=EVALUATION)
        undisturbed = client.training_jobs.wait(other.id, timeout=180)
        assert undisturbed.result == killed.result
        client.training_jobs.download(other.id, tmp_path / "undisturbed")
    assert_same_adapter(tmp_path / "killed", tmp_path / "undisturbed")
    metrics = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in metrics] == list(range(1, 13))
    assert "ended: the worker" in (tmp_path / "killed" / "train.log").read_text()


def test_the_adapter_is_one_that_a_selection_can_start_from(stack: Stack, selection_id: str) -> None:
    with stack.client() as client:
        job = client.training_jobs.create(selection=selection_id, args={"updates": 1}, evaluation={"test_samples": 0})
        client.training_jobs.wait(job.id, timeout=120)
        client.training_jobs.download(job.id, stack.data_dir / "models" / "trained")
        model = SELECTION["model"] | {"adapter": {"source": "local", "id": "trained"}}
        dataset_id = client.selections.retrieve(selection_id).dataset_id
        second = client.selections.create(dataset=dataset_id, **SELECTION | {"model": model})
        assert client.selections.wait(second.id, timeout=120).status == "succeeded"


def assert_same_adapter(ours: Path, theirs: Path) -> None:
    tensors, expected = (load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs))
    assert tensors.keys() == expected.keys()
    for name in tensors:
        assert tensors[name] == pytest.approx(expected[name], abs=1e-6), name


def wait_for_update(client: MiniRec, job_id: str, update: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job = client.training_jobs.retrieve(job_id)
        if job.stage == "training" and job.updates_done >= update:
            return
        assert job.status in ("queued", "running"), job
        time.sleep(0.02)
    raise AssertionError("training did not begin")
