"""The proxy stage: trained once, from the last checkpoint after a loss, and used for the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from minirec.api_schemas import ModelReference, ProxySettings, RolloutSettings
from minirec.policy.load import load_policy
from minirec.policy.reference import resolve
from minirec.specs.outputs import proxy_file
from minirec.training.grpo import train
from minirec.training.proxy import draw_proxy_rows
from minirec.training.settings import RunSettings
from minirec.worker import training
from minirec.worker.datasets import open_dataset
from tests.worker.bench import Bench

ROLLOUTS = {"group_size": 3, "max_new_tokens": 6}
PROXY = {"samples": 16, "updates": 7, "grpo": {"batch_size": 4, "learning_rate": 0.01}}


def test_a_proxy_is_trained_once_and_changes_the_scores(bench: Bench) -> None:
    plain = bench.create(rollouts=ROLLOUTS)
    first = bench.create(rollouts=ROLLOUTS, proxy=PROXY)
    second = bench.create(rollouts=ROLLOUTS, proxy=PROXY, size=5)
    bench.hear()
    events = bench.store.events.read(first, limit=1000)
    assert [event.data["update"] for event in events if event.type == "metrics"] == [1, 2, 3, 4, 5, 6, 7]
    stages = [event.data["stage"] for event in events if event.type == "stage"]
    assert stages == [
        "preparing",
        "checking",
        "planning",
        "training_proxy",
        "embedding_catalogue",
        "scoring",
        "selecting",
    ]
    assert not np.array_equal(bench.result(plain)["rewards"], bench.result(first)["rewards"])
    np.testing.assert_array_equal(bench.result(first)["rewards"], bench.result(second)["rewards"])


def test_a_killed_proxy_goes_on_from_its_checkpoint(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = training.train
    killed: list[int] = []

    def dies_after_six(*args: Any, on_update: Any, **settings: Any) -> Any:
        def stops(metrics: Any) -> None:
            on_update(metrics)
            if metrics["update"] == 6 and not killed:
                killed.append(6)
                raise RuntimeError("killed")

        return real(*args, on_update=stops, **settings)

    monkeypatch.setattr(training, "train", dies_after_six)
    job = bench.create(rollouts=ROLLOUTS, proxy=PROXY)
    bench.hear()
    events = bench.store.events.read(job, limit=1000)
    # Six updates, the last checkpoint after the fifth, then on from there.
    assert [event.data["update"] for event in events if event.type == "metrics"] == [1, 2, 3, 4, 5, 6, 6, 7]
    name = bench.store.jobs.get(job).json("provenance")["proxy_fingerprint"]
    stored = load_file(bench.store.blobs.local_path(proxy_file(name, "adapter_model.safetensors")))

    policy = load_policy(
        resolve(ModelReference(source="local", id="tiny"), models_root=bench.settings.models_dir), device="cpu"
    )
    content = bench.store.datasets.get(bench.dataset_id).content_hash
    settings, dataset = ProxySettings.model_validate(PROXY), open_dataset(bench.store.blobs, content)
    pool = dataset.pool(split=None, max_samples=None, seed=0)
    undisturbed = train(
        policy,
        dataset,
        RunSettings(
            rows=draw_proxy_rows(pool, settings.samples, settings.grpo.seed).tolist(),
            rollouts=RolloutSettings.model_validate(ROLLOUTS),
            grpo=settings.grpo,
            updates=settings.updates,
            out=tmp_path / "undisturbed",
        ),
    )
    expected = load_file(undisturbed.adapter / "adapter_model.safetensors")
    assert stored.keys() == expected.keys()
    for key in expected:
        np.testing.assert_allclose(stored[key], expected[key], atol=1e-6, err_msg=key)
    assert bench.store.blobs.folders(f"proxies/{name}/checkpoints") == []


def test_an_adapter_can_be_the_proxy(bench: Bench, tmp_path: Path) -> None:
    job = bench.create(rollouts=ROLLOUTS, proxy={"source": "local", "id": "absent"})
    bench.hear()
    error = bench.store.jobs.get(job).json("error")
    assert error["code"] == "model_not_found"
    assert "absent" in error["message"]
