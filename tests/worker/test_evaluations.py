"""Evaluations: the numbers of a training job without the training, measured once however often they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minirec.api_schemas import EvaluationResult, RolloutSettings
from minirec.data.dataset import Dataset
from minirec.policy.load import load_policy
from minirec.policy.reference import resolve
from minirec.store.blobs import BlobStore
from minirec.store.names import items_blob, samples_blob
from minirec.training.evaluate import evaluate
from minirec.worker import evaluate as handler
from tests.worker.bench import Bench
from tests.worker.test_training_jobs import artifact, body, events

ROLLOUTS = {"max_new_tokens": 6}


def result(bench: Bench, job: str) -> EvaluationResult:
    record = bench.store.jobs.get(job)
    assert record.status == "succeeded", record.fields.get("error")
    return EvaluationResult.model_validate(record.json("result"))


def error(bench: Bench, job: str) -> tuple[str, str]:
    bench.hear()
    found = bench.store.jobs.get(job).json("error")
    return found["code"], found["message"]


def content(bench: Bench) -> Dataset:
    blobs: BlobStore = bench.store.blobs
    content_hash = bench.store.datasets.get(bench.dataset_id).content_hash
    return Dataset.open(blobs.local_path(samples_blob(content_hash)), blobs.local_path(items_blob(content_hash)))


def test_an_evaluation_ranks_the_test_split_over_the_whole_catalogue(split_bench: Bench, models_dir: Path) -> None:
    job = split_bench.evaluate(rollouts=ROLLOUTS)
    split_bench.hear()
    found = result(split_bench, job)
    dataset = content(split_bench)
    rows = dataset.pool(split="test", max_samples=None, seed=0).tolist()
    policy = load_policy(resolve_tiny(split_bench, models_dir))
    expected = evaluate(policy, dataset=dataset, rows=rows, rollouts=RolloutSettings(max_new_tokens=6)).summary()
    assert found.samples == len(rows) > 1
    assert found.ranking == expected
    assert found.text is None
    stages = [event.data["stage"] for event in events(split_bench, job, "stage")]
    assert stages == ["preparing", "evaluating", "finishing"]
    assert [event.data["split"] for event in events(split_bench, job, "evaluation")] == ["test"]
    record = split_bench.store.jobs.get(job)
    assert record.json("samples_total") == len(rows)
    assert record.json("provenance")["model"]["id"] == "tiny"


def resolve_tiny(bench: Bench, models_dir: Path) -> Any:
    from minirec.api_schemas import ModelReference

    return resolve(ModelReference(source="local", id="tiny", dtype="float32"), models_root=models_dir, allowed=("*",))


def test_splits_and_parts_are_drawn_as_asked(split_bench: Bench) -> None:
    sizes = {}
    changed: dict[str, dict[str, Any]] = {
        "valid": {"split": "valid"},
        "all": {"split": "all"},
        "part": {"split": "all", "max_samples": 5},
        "other part": {"split": "all", "max_samples": 5, "seed": 1},
    }
    for name, changes in changed.items():
        job = split_bench.evaluate(rollouts=ROLLOUTS, **changes)
        split_bench.hear()
        sizes[name] = result(split_bench, job).samples
    record = split_bench.store.datasets.get(split_bench.dataset_id)
    assert sizes == {"valid": record.splits["valid"], "all": record.n_samples, "part": 5, "other part": 5}


def test_what_was_measured_before_is_not_measured_again(split_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    monkeypatch.setattr(handler, "evaluate", lambda *a, **k: measured.append(1) or evaluate(*a, **k))
    first = split_bench.evaluate(rollouts=ROLLOUTS)
    split_bench.hear()
    again = split_bench.evaluate(rollouts=ROLLOUTS)
    split_bench.hear()
    assert result(split_bench, again) == result(split_bench, first)
    assert measured == [1]
    other = split_bench.evaluate(rollouts=ROLLOUTS | {"window": 2})
    split_bench.hear()
    assert result(split_bench, other).samples
    assert measured == [1, 1]


def test_an_adapter_that_was_trained_is_evaluated_as_its_training_job_did(split_bench: Bench, models_dir: Path) -> None:
    evaluation = {"valid_samples": 0, "test_samples": 1000}
    trained = split_bench.train(**body(args={"updates": 2, "rollouts": ROLLOUTS}, evaluation=evaluation))
    split_bench.hear()
    folder = models_dir / "adapter"
    folder.mkdir(exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes(artifact(split_bench, trained, name).read_bytes())
    model = {"source": "local", "id": "tiny", "adapter": {"source": "local", "id": "adapter"}}
    job = split_bench.evaluate(model=model, rollouts=ROLLOUTS)
    split_bench.hear()
    after = split_bench.store.jobs.get(trained).json("result")["test_after"]
    found = result(split_bench, job).ranking
    assert found is not None
    assert found.ndcg == pytest.approx(after["ndcg"])
    assert found.hr == pytest.approx(after["hr"])
    assert split_bench.store.jobs.get(job).json("provenance")["adapter_revision"]


def test_answers_to_prompts_are_rewarded(prompt_bench: Bench) -> None:
    job = prompt_bench.evaluate(split="all", rewards=[{"name": "token_f1"}], rollouts=ROLLOUTS)
    prompt_bench.hear()
    found = result(prompt_bench, job)
    assert found.ranking is None
    assert found.text is not None
    assert found.samples == found.text.samples == prompt_bench.store.datasets.get(prompt_bench.dataset_id).n_samples
    assert 0 <= found.text.reward_mean <= 1


def test_what_cannot_be_evaluated_says_why(bench: Bench) -> None:
    assert error(bench, bench.evaluate())[0] == "empty_split"
    code, message = error(bench, bench.evaluate(split="all", model={"source": "local", "id": "nowhere"}))
    assert code == "model_not_found", message


def test_a_cancelled_evaluation_goes_on_when_it_is_retried(split_bench: Bench) -> None:
    job = split_bench.evaluate(rollouts=ROLLOUTS)
    split_bench.hear(limit=1)
    split_bench.store.machine.cancel(job)
    assert set(split_bench.hear()) <= {"skipped"}
    split_bench.store.machine.retry(job)
    split_bench.hear()
    assert result(split_bench, job).samples
