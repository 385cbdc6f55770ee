"""First stage of an evaluation: check the model, draw the samples, and plan what has to be done."""

from __future__ import annotations

import json

import numpy as np

from minirec.api_schemas import EvaluationCreate
from minirec.data.dataset import PromptDataset, SampleTable
from minirec.specs import EvaluateSpec, FinishEvaluation, PrepareEvaluation, rows_fingerprint
from minirec.store.machine import Outcome
from minirec.worker.checks import check_rewards
from minirec.worker.computing import computing_for
from minirec.worker.datasets import open_samples
from minirec.worker.policies import pin, resolve_model
from minirec.worker.pools import Rows
from minirec.worker.provenance import model_facts, provenance
from minirec.worker.stored_rows import writes_of_rows
from minirec.worker.training_plan import catalogue_under
from minirec.worker.work import UnitError, Work


def run(work: Work, spec: PrepareEvaluation) -> Outcome:
    """Pin the model and the samples, and append the stages that follow."""
    store = work.store
    job = store.jobs.get(spec.job_id)
    request = EvaluationCreate.model_validate_json(job.fields["request"])
    record = store.datasets.get(request.dataset_id)
    dataset = open_samples(store.blobs, record.content_hash, record.kind)
    rows = draw_samples(dataset, request)
    if isinstance(dataset, PromptDataset):
        check_rewards(dataset, request.rewards, rows)
    resolved = resolve_model(request.model, work.settings)
    computing = computing_for(request.model, work.settings, store.devices, on_gpu_queue=spec.on_gpu_queue)
    work.done = 1
    if computing is None:
        return Outcome(stages=[PrepareEvaluation(job_id=job.id, on_gpu_queue=True).stage("preparing")])
    model = pin(request.model, resolved, computing.dtype, computing.only_on)
    rewards = None if request.rewards is None else tuple(request.rewards)
    evaluate = EvaluateSpec(
        content_hash=record.content_hash,
        model=model,
        rollouts=request.rollouts,
        rewards=rewards,
        rows=rows_fingerprint(rows),
        catalogue=catalogue_under(model, record.content_hash, rewards, work.settings),
        split=request.split,
    )
    facts = model_facts(model, computing) | {
        "adapter_revision": None if model.adapter is None else model.adapter.revision,
        "evaluation_fingerprint": evaluate.name,
    }
    finish = FinishEvaluation(job_id=job.id, evaluation=evaluate.name)
    return Outcome(
        job={
            "provenance": json.dumps(provenance(record.content_hash) | facts),
            "samples_total": str(len(rows)),
        },
        stages=[evaluate.stage("evaluating", total=len(rows)), finish.stage("finishing")],
        writes=writes_of_rows(store, evaluate, test=rows),
    )


def draw_samples(dataset: SampleTable, request: EvaluationCreate) -> Rows:
    """Return the sorted rows to evaluate on. Raises UnitError where there are none."""
    if request.split == "all":
        rows = np.arange(dataset.n_samples, dtype=np.int64)
        if request.max_samples is not None and request.max_samples < len(rows):
            rows = np.sort(np.random.default_rng(request.seed).choice(rows, request.max_samples, replace=False))
    else:
        rows = dataset.pool(split=request.split, max_samples=request.max_samples, seed=request.seed)
    if not len(rows):
        raise UnitError("empty_split", f"the dataset has no samples in split {request.split!r}")
    return rows
