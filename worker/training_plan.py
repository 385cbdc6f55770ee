"""First stage of a training job: check the model, fix the samples and their order, and plan what has to be done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from api_schemas import TrainingJobCreate
from minirec.data.dataset import SampleTable
from minirec.data.prompts import PROMPT_VERSION
from minirec.store.machine import Outcome, Stage
from minirec.store.names import result_columns
from minirec.training.batches import Schedule
from worker import plan
from worker.datasets import open_dataset, open_prompts
from worker.policies import ADAPTER_FILES, resolve_model
from worker.prepare import check_rewards, model_facts, pin, provenance
from worker.work import UnitError, Work

Rows = npt.NDArray[np.int64]
Spec = dict[str, Any]

METRICS, EVALUATION, SUMMARY = "metrics.jsonl", "evaluation.json", "summary.json"


@dataclass(frozen=True)
class Samples:
    """Rows of the dataset that a job works with."""

    train: Rows
    """In training order."""
    valid: Rows
    test: Rows


def run(work: Work) -> Outcome:
    """Pin model, samples and order, and append the stages that follow."""
    job = work.store.jobs.get(work.claim.spec["job_id"])
    request = TrainingJobCreate.model_validate_json(job.fields["request"])
    if request.model is None or request.args.rollouts is None:
        raise UnitError("invalid_request", "the job names neither a model nor a selection to take one from")
    content_hash = work.store.datasets.get(job.fields["dataset_id"]).content_hash
    samples, rewards = _samples_of(work, request, content_hash)
    model = resolve_model(request.model, work.settings)
    common = {
        "content_hash": content_hash,
        "model": pin(request.model, model).model_dump(mode="json"),
        "rollouts": request.args.rollouts.model_dump(mode="json"),
        **rewards,
    }
    basis = common | {"model": model.fingerprint(), "prompt": PROMPT_VERSION, "version": plan.TRAINING_VERSION}
    training = _training(work, request, samples, common, basis)
    name = json.loads(training.spec)["name"]
    stages, rankings = [training], {}
    if len(samples.test):
        before = _evaluation(work, "evaluating_before", samples.test, common, basis, training=None)
        after = _evaluation(work, "evaluating_after", samples.test, common, basis, training=name)
        stages = [before, training, after]
        rankings = {"before": json.loads(before.spec)["name"], "after": json.loads(after.spec)["name"]}
    finish = {"job_id": job.id, "training": name, "rankings": rankings}
    stages.append(Stage("finishing", f"finish:{job.id}", "cpu", "finish_training", 1, 1, json.dumps(finish)))
    work.done = 1
    facts = provenance(content_hash) | {"model": model_facts(model), "training_fingerprint": name}
    return Outcome(
        job={
            "provenance": json.dumps(facts),
            "updates_total": str(training.total),
            "artifacts": json.dumps(_artifacts(job.id, name)),
        },
        stages=stages,
        outputs=[plan.pool_blob(made) for made in (name, *rankings.values())],
        warnings=_warnings(request, samples),
    )


def _samples_of(work: Work, request: TrainingJobCreate, content_hash: str) -> tuple[Samples, Spec]:
    """The samples of the job, and for prompts the rewards of answers to them. Raises UnitError."""
    if request.trainer == "rec_grpo":
        return choose_samples(work, request, open_dataset(work.store.blobs, content_hash)), {}
    prompts = open_prompts(work.store.blobs, content_hash)
    samples = choose_samples(work, request, prompts)
    check_rewards(prompts, request.args.rewards, np.concatenate([samples.train, samples.valid, samples.test]))
    return samples, {"rewards": [reward.model_dump() for reward in request.args.rewards or ()]}


def choose_samples(work: Work, request: TrainingJobCreate, dataset: SampleTable) -> Samples:
    """The samples to train on, in order, and those to evaluate on, without the former. Raises UnitError."""
    if request.selection_id is not None:
        columns = work.store.columns.read(result_columns(request.selection_id))
        chosen = np.flatnonzero(columns["training_position"] >= 0)
        train = columns["row"][chosen[np.argsort(columns["training_position"][chosen])]].astype(np.int64)
    else:
        train = _rows_of(dataset, request.ids or [])
    return Samples(
        train=train,
        valid=_held_out(dataset, "valid", request.evaluation.valid_samples, request.evaluation.seed, train),
        test=_held_out(dataset, "test", request.evaluation.test_samples, request.evaluation.seed, train),
    )


def _rows_of(dataset: SampleTable, ids: list[str]) -> Rows:
    row_of = {sample_id: row for row, sample_id in enumerate(dataset.ids)}
    unknown = [sample_id for sample_id in ids if sample_id not in row_of]
    if unknown:
        raise UnitError("unknown_sample", f"the dataset has no sample {unknown[0]!r}")
    return np.array([row_of[sample_id] for sample_id in ids], dtype=np.int64)


def _held_out(dataset: SampleTable, split: str, samples: int, seed: int, train: Rows) -> Rows:
    """Up to `samples` random rows of a split, sorted, without those that are trained on."""
    if samples == 0:
        return np.array([], dtype=np.int64)
    return np.setdiff1d(dataset.pool(split=split, max_samples=samples, seed=seed), train)


def _training(work: Work, request: TrainingJobCreate, samples: Samples, common: Spec, basis: Spec) -> Stage:
    """Train. Equal work has an equal name, and is done once."""
    args = request.args
    per_epoch = Schedule(samples.train.tolist(), args.grpo.batch_size).per_epoch
    updates = args.updates or args.epochs * per_epoch
    settings = {
        "updates": updates,
        "grpo": args.grpo.model_dump(mode="json"),
        "every": request.evaluation.every,
        "early_stopping": args.early_stopping and args.early_stopping.model_dump(mode="json"),
    }
    rows = {"train": samples.train, "valid": samples.valid}
    fingerprints = {name: plan.rows_fingerprint(values) for name, values in rows.items()}
    name = plan.fingerprint(**basis, **settings | {"grpo": args.grpo.identity()}, **fingerprints)
    work.store.blobs.put_arrays(plan.pool_blob(name), rows)
    spec = json.dumps(common | settings | {"name": name})
    return Stage("training", f"train:{name}", "train", "train", 1, updates, spec)


def _evaluation(work: Work, stage: str, test: Rows, common: Spec, basis: Spec, *, training: str | None) -> Stage:
    """Rank held-out targets with the model as it is, or with the adapter of a training run."""
    name = plan.fingerprint(**basis, test=plan.rows_fingerprint(test), training=training)
    work.store.blobs.put_arrays(plan.pool_blob(name), {"rows": test})
    catalogue = None
    if training is None and "rewards" not in common:
        # A selection on the same model has embedded it.
        catalogue = plan.catalogue_name(basis["content_hash"], basis["model"], proxy=None, prompt=basis["prompt"])
    spec = json.dumps(common | {"name": name, "training": training, "catalogue": catalogue})
    return Stage(stage, f"evaluate:{name}", "train", "evaluate", 1, len(test), spec)


def _artifacts(job_id: str, training: str) -> dict[str, str]:
    """Blobs of the files that clients may download, by name; they are there once they have been made."""
    files = {name: plan.training_file(training, name) for name in (*ADAPTER_FILES, METRICS)}
    return files | {EVALUATION: plan.evaluation_blob(job_id)}


def _warnings(request: TrainingJobCreate, samples: Samples) -> list[str]:
    """What was asked for and cannot be done."""
    missing = [
        split
        for split, wanted, rows in (
            ("valid", request.evaluation.valid_samples, samples.valid),
            ("test", request.evaluation.test_samples, samples.test),
        )
        if wanted and not len(rows)
    ]
    meaning = {
        "valid": "nothing is evaluated while training, and the last adapter is kept",
        "test": "nothing is evaluated before and after training",
    }
    return [f"the dataset has no samples in its {split} split to evaluate on: {meaning[split]}" for split in missing]
