"""First stage of a training job: check the model, fix the samples and their order, and plan what has to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minirec.api_schemas import Dataset as DatasetRecord
from minirec.api_schemas import TextReward, TrainingJobCreate
from minirec.data.dataset import Dataset, PromptDataset, SampleTable
from minirec.policy.reference import ResolvedModel
from minirec.settings import Settings
from minirec.specs import (
    CatalogueSpec,
    EvaluateSpec,
    FinishTraining,
    PinnedModel,
    PrepareTraining,
    TrainSpec,
    rows_fingerprint,
)
from minirec.specs.outputs import ADAPTER_FILES, EVALUATION, METRICS, job_file, training_file
from minirec.store.columns import Columns
from minirec.store.machine import Outcome
from minirec.store.names import result_columns
from minirec.training.batches import Schedule
from minirec.worker.check_pool import check_rows, pool_data, refuse_unusable, sample_error
from minirec.worker.checks import check_rewards
from minirec.worker.computing import computing_for
from minirec.worker.datasets import open_samples
from minirec.worker.policies import pin, resolve_model
from minirec.worker.pools import Rows
from minirec.worker.provenance import model_facts, prompted_by, provenance
from minirec.worker.stored_rows import writes_of_rows
from minirec.worker.work import UnitError, Work


@dataclass(frozen=True)
class Samples:
    """Rows of the dataset that a job works with."""

    train: Rows
    """In training order."""
    valid: Rows
    test: Rows


@dataclass(frozen=True)
class Plan:
    """The specs of a training job; without test samples there are no evaluations."""

    train: TrainSpec
    before: EvaluateSpec | None = None
    after: EvaluateSpec | None = None


def run(work: Work, spec: PrepareTraining) -> Outcome:
    """Pin model, samples and order, and append the stages that follow."""
    store = work.store
    job = store.jobs.get(spec.job_id)
    request = TrainingJobCreate.model_validate_json(job.fields["request"])
    if request.model is None or request.args.rollouts is None:
        raise UnitError("invalid_request", "the job names neither a model nor a selection to take one from")
    record = store.datasets.get(job.fields["dataset_id"])
    dataset = open_samples(store.blobs, record.content_hash, record.kind)
    selected = None if request.selection_id is None else store.columns.read(result_columns(request.selection_id))
    samples = choose_samples(request, dataset, selected)
    if isinstance(dataset, PromptDataset):
        check_rewards(dataset, request.args.rewards, np.concatenate([samples.train, samples.valid, samples.test]))
    resolved = resolve_model(request.model, work.settings)
    computing = computing_for(request.model, work.settings, store.devices, on_gpu_queue=spec.on_gpu_queue)
    work.done = 1
    if computing is None:
        return Outcome(stages=[PrepareTraining(job_id=job.id, on_gpu_queue=True).stage("preparing")])
    check_samples(work, request, record, resolved, samples)
    model = pin(request.model, resolved, computing.dtype, computing.only_on)
    plan = plan_training(request, record.content_hash, model, samples, work.settings)
    stages, writes = [plan.train.stage("training", total=plan.train.updates)], []
    writes += writes_of_rows(store, plan.train, train=samples.train, valid=samples.valid)
    if plan.before is not None and plan.after is not None:
        total = len(samples.test)
        stages.insert(0, plan.before.stage("evaluating_before", total=total))
        stages.append(plan.after.stage("evaluating_after", total=total))
        for evaluation in (plan.before, plan.after):
            writes += writes_of_rows(store, evaluation, test=samples.test)
    finish = FinishTraining(
        job_id=job.id,
        training=plan.train.name,
        before=plan.before and plan.before.name,
        after=plan.after and plan.after.name,
    )
    facts = model_facts(model, computing) | prompted_by(resolved) | {"training_fingerprint": plan.train.name}
    return Outcome(
        job={
            "provenance": json.dumps(provenance(record.content_hash) | facts),
            "updates_total": str(plan.train.updates),
            "artifacts": json.dumps(artifacts(job.id, plan.train.name)),
        },
        stages=[*stages, finish.stage("finishing")],
        warnings=[*resolved.warnings, *warnings_for(request, samples)],
        writes=writes,
        outputs=sorted({key for key, _, _ in writes}),
    )


def check_samples(
    work: Work, request: TrainingJobCreate, record: DatasetRecord, model: ResolvedModel, samples: Samples
) -> None:
    """Try the model and the prompts of all samples out.

    Args:
        work: The claim on the unit that plans.
        request: What was asked for, with its rollouts.
        record: The dataset.
        model: The model's files.
        samples: Rows to train, validate and test on.

    Raises:
        ModelRefused: The model cannot be used.
        UnitError: `invalid_sample` or `prompt_too_long`: nothing is left out of a training run.
    """
    assert request.args.rollouts is not None
    blobs, rollouts = work.store.blobs, request.args.rollouts
    dataset = open_samples(blobs, record.content_hash, record.kind)
    report = check_rows(
        lambda _: work.check(),
        model,
        pool_data(
            blobs, record.content_hash, record.kind, np.concatenate([samples.train, samples.valid, samples.test])
        ),
        content_hash=record.content_hash,
        window=rollouts.window,
        max_new_tokens=rollouts.max_new_tokens,
    )
    items = [item["item_id"] for item in dataset.items] if isinstance(dataset, Dataset) else []
    refuse_unusable(report, dataset.ids, items)
    if report.too_long:
        raise sample_error("prompt_too_long", report.too_long, report.too_long_reason, dataset.ids, of=report.prompts)


def plan_training(
    request: TrainingJobCreate, content_hash: str, model: PinnedModel, samples: Samples, settings: Settings
) -> Plan:
    """Return what a training job needs done. Equal work has an equal name, and is done once.

    Args:
        request: What was asked for, with its rollouts and rewards filled in.
        content_hash: The dataset's content.
        model: The model, pinned.
        samples: Rows to train, validate and test on.
        settings: Size of catalogue shards.
    """
    args, evaluation = request.args, request.evaluation
    assert args.rollouts is not None
    rewards = None if request.trainer == "rec_grpo" else tuple(args.rewards or ())
    train = TrainSpec(
        content_hash=content_hash,
        model=model,
        rollouts=args.rollouts,
        rewards=rewards,
        train=rows_fingerprint(samples.train),
        valid=rows_fingerprint(samples.valid),
        updates=args.updates or args.epochs * Schedule(samples.train.tolist(), args.grpo.batch_size).per_epoch,
        grpo=args.grpo,
        every=evaluation.every,
        early_stopping=args.early_stopping,
    )
    if not len(samples.test):
        return Plan(train)
    before = EvaluateSpec(
        content_hash=content_hash,
        model=model,
        rollouts=args.rollouts,
        rewards=rewards,
        rows=rows_fingerprint(samples.test),
        catalogue=catalogue_under(model, content_hash, rewards, settings),
    )
    return Plan(train, before, before.model_copy(update={"training": train.name, "catalogue": None}))


def catalogue_under(
    model: PinnedModel, content_hash: str, rewards: tuple[TextReward, ...] | None, settings: Settings
) -> str | None:
    """Return the name of a catalogue that a selection with the same model has perhaps embedded; None for prompts."""
    if rewards is not None:
        return None
    return CatalogueSpec(content_hash=content_hash, model=model, shard_size=settings.catalogue_shard_size).name


def choose_samples(request: TrainingJobCreate, dataset: SampleTable, selected: Columns | None) -> Samples:
    """Return the samples to train on, in order, and those to evaluate on, without the former. Raises UnitError.

    `selected` are the columns of the selection to train on; None takes the ids of the request.
    """
    if selected is not None:
        chosen = np.flatnonzero(selected["training_position"] >= 0)
        train = selected["row"][chosen[np.argsort(selected["training_position"][chosen])]].astype(np.int64)
    else:
        train = _rows_of(dataset, request.ids or [])
    evaluation = request.evaluation
    return Samples(
        train=train,
        valid=held_out(dataset, "valid", evaluation.valid_samples, evaluation.seed, train),
        test=held_out(dataset, "test", evaluation.test_samples, evaluation.seed, train),
    )


def _rows_of(dataset: SampleTable, ids: list[str]) -> Rows:
    row_of = {sample_id: row for row, sample_id in enumerate(dataset.ids)}
    unknown = [sample_id for sample_id in ids if sample_id not in row_of]
    if unknown:
        raise UnitError("unknown_sample", f"the dataset has no sample {unknown[0]!r}")
    return np.array([row_of[sample_id] for sample_id in ids], dtype=np.int64)


def held_out(dataset: SampleTable, split: str, samples: int, seed: int, train: Rows) -> Rows:
    """Return random rows of a split, sorted, without those that are trained on.

    Args:
        dataset: The samples or prompts.
        split: Name of the split.
        samples: How many rows at most.
        seed: Of the draw.
        train: Rows that are trained on.
    """
    if samples == 0:
        return np.array([], dtype=np.int64)
    return np.setdiff1d(dataset.pool(split=split, max_samples=samples, seed=seed), train)


def artifacts(job_id: str, training: str) -> Mapping[str, str]:
    """Return the blobs of files that clients may download, by name; they are there once they have been made."""
    files = {name: training_file(training, name) for name in (*ADAPTER_FILES, METRICS)}
    return files | {EVALUATION: job_file(job_id, EVALUATION)}


def warnings_for(request: TrainingJobCreate, samples: Samples) -> list[str]:
    """Return what was asked for and cannot be done."""
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
