"""Train on samples in their order, checkpointed to the blob store so that any worker can resume it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minirec.policy.reference import ResolvedModel
from minirec.specs import TrainSpec
from minirec.specs.outputs import ADAPTER_FILES, METRICS, SUMMARY, training_checkpoints, training_file
from minirec.store import Store
from minirec.store.blobs import BlobStore
from minirec.store.machine import Outcome
from minirec.training.grpo import TrainResult
from minirec.training.lora import name_base
from minirec.training.runs import RecGrpoRun, TextGrpoRun, TrainingRun
from minirec.training.settings import RunSettings
from minirec.training.validation import Validation
from minirec.worker import training
from minirec.worker.checkpoints import Checkpoints
from minirec.worker.datasets import dataset_files, prompts_file
from minirec.worker.policies import resolve_pinned
from minirec.worker.stored_rows import stored_rows
from minirec.worker.work import Work

SHOWN = ("update", "epoch", "loss", "reward_mean", "hit_rate", "ndcg10", "tokens_per_second", "seconds")


def run(work: Work, spec: TrainSpec) -> Outcome:
    """Train, resuming from the last checkpoint, and store adapter, metrics and summary."""
    blobs, name = work.store.blobs, spec.name
    summary = training_file(name, SUMMARY)
    if not blobs.exists(summary):
        with tempfile.TemporaryDirectory(prefix="minirec-training-") as scratch:
            checkpoints = Checkpoints(blobs, training_checkpoints(name), Path(scratch))
            checkpoints.fetch()
            training_run = _run_of(spec, work.store, resolve_pinned(spec.model, work.settings), Path(scratch))
            result = _train(work, training_run, checkpoints)
            name_base(result.adapter, spec.model)
            _store_result(blobs, name, result)
            checkpoints.clear()
    work.done = json.loads(blobs.local_path(summary).read_bytes())["updates"]
    return Outcome(job={"updates_done": str(work.done)})


def _train(work: Work, training_run: TrainingRun, checkpoints: Checkpoints) -> TrainResult[Any]:
    def on_update(metrics: dict[str, Any]) -> None:
        checkpoints.store()
        shown = {name: metrics[name] for name in SHOWN if name in metrics}
        work.report_event("metrics", {"stage": "training"} | shown)
        work.progress(metrics["update"])

    def on_evaluation(update: int, summary: dict[str, Any]) -> None:
        checkpoints.store()
        work.report_event("evaluation", evaluation_event("valid", update, summary))
        work.check()

    return training.train(work, training_run, on_update=on_update, on_evaluation=on_evaluation)


def _run_of(spec: TrainSpec, store: Store, model: ResolvedModel, out: Path) -> TrainingRun:
    """Return the run that the spec asks for, in a folder of this machine."""
    rows, valid = (stored_rows(store, spec, use) for use in ("train", "valid"))
    settings = RunSettings(
        rows=rows,
        rollouts=spec.rollouts,
        grpo=spec.grpo,
        out=out,
        updates=spec.updates,
        validation=Validation(valid, spec.every, spec.early_stopping) if valid else None,
    )
    if spec.rewards is not None:
        prompts = prompts_file(store.blobs, spec.content_hash)
        return TextGrpoRun(model=model, settings=settings, prompts=prompts, rewards=list(spec.rewards))
    samples, items = dataset_files(store.blobs, spec.content_hash)
    return RecGrpoRun(model=model, settings=settings, samples=samples, items=items)


def evaluation_event(split: str, update: int, summary: Mapping[str, Any]) -> dict[str, object]:
    """Return the event's data: a ranking, or the rewards of text, in two numbers."""
    if "ndcg" in summary:
        found = {"ndcg10": summary["ndcg"]["10"], "hr10": summary["hr"]["10"]}
    else:
        found = {name: summary[name] for name in ("reward_mean", "pass_rate")}
    return {"split": split, "update": update, **found}


def _store_result(blobs: BlobStore, name: str, result: TrainResult[Any]) -> None:
    """Store what the run left, its summary last: where that is, the rest is."""
    for file in ADAPTER_FILES:
        blobs.put_file(training_file(name, file), result.adapter / file)
    lines = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in result.metrics)
    blobs.put_bytes(training_file(name, METRICS), lines.encode())
    summary = {
        "updates": result.updates,
        "samples_seen": result.samples_seen,
        "stopped_early": result.stopped_early,
        "best_update": result.best_update,
        "evaluations": result.evaluations,
    }
    blobs.put_bytes(training_file(name, SUMMARY), json.dumps(summary).encode())
