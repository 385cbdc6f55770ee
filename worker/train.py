"""Train on samples in their order, checkpointed to the blob store so that any worker can go on with it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from api_schemas import EarlyStopping, GrpoSettings, RolloutSettings, TextReward
from minirec.store.machine import Outcome
from minirec.training.grpo import TrainResult
from minirec.training.runs import RecGrpoRun, TextGrpoRun, TrainingRun
from minirec.training.validation import Validation
from worker import plan, training
from worker.checkpoints import Checkpoints
from worker.datasets import dataset_files, prompts_file
from worker.policies import ADAPTER_FILES, resolved_with
from worker.training_plan import METRICS, SUMMARY
from worker.work import Work

SHOWN = ("update", "epoch", "loss", "reward_mean", "hit_rate", "ndcg10", "tokens_per_second", "seconds")


def run(work: Work) -> Outcome:
    """Train, going on from the last checkpoint, and store adapter, metrics and summary."""
    spec, blobs = work.claim.spec, work.store.blobs
    summary = plan.training_file(spec["name"], SUMMARY)
    if not blobs.exists(summary):
        with tempfile.TemporaryDirectory(prefix="minirec-training-") as scratch:
            checkpoints = Checkpoints(blobs, plan.training_file(spec["name"], "checkpoints"), Path(scratch))
            checkpoints.fetch()
            _store(work, _train(work, checkpoints, Path(scratch)))
            checkpoints.clear()
    work.done = json.loads(blobs.local_path(summary).read_bytes())["updates"]
    return Outcome(job={"updates_done": str(work.done)})


def _train(work: Work, checkpoints: Checkpoints, out: Path) -> TrainResult[Any]:
    def on_update(metrics: dict[str, Any]) -> None:
        checkpoints.store()
        shown = {name: metrics[name] for name in SHOWN if name in metrics}
        work.tell("metrics", {"stage": "training"} | shown)
        work.progress(metrics["update"])

    def on_evaluation(update: int, summary: dict[str, Any]) -> None:
        checkpoints.store()
        work.tell("evaluation", evaluation_event("valid", update, summary))
        work.check()

    return training.train(work, _run_of(work, out), on_update=on_update, on_evaluation=on_evaluation)


def _run_of(work: Work, out: Path) -> TrainingRun:
    """The run that the unit asks for."""
    spec, blobs = work.claim.spec, work.store.blobs
    rows = blobs.get_arrays(plan.pool_blob(spec["name"]))
    common: dict[str, Any] = {
        "model": resolved_with(work, []),
        "rows": rows["train"].tolist(),
        "rollouts": RolloutSettings.model_validate(spec["rollouts"]),
        "grpo": GrpoSettings.model_validate(spec["grpo"]),
        "updates": spec["updates"],
        "validation": _validation(rows["valid"], spec["every"], spec["early_stopping"]),
        "out": out,
    }
    if spec.get("rewards") is not None:
        rewards = [TextReward.model_validate(reward) for reward in spec["rewards"]]
        return TextGrpoRun(prompts=prompts_file(blobs, spec["content_hash"]), rewards=rewards, **common)
    samples, items = dataset_files(blobs, spec["content_hash"])
    return RecGrpoRun(samples=samples, items=items, **common)


def _validation(rows: npt.NDArray[np.int64], every: int, stopping: dict[str, float] | None) -> Validation | None:
    if not len(rows):
        return None
    return Validation(rows.tolist(), every, None if stopping is None else EarlyStopping.model_validate(stopping))


def evaluation_event(split: str, update: int, summary: Mapping[str, Any]) -> dict[str, object]:
    """The event's data: a ranking, or the rewards of text, in two numbers."""
    if "ndcg" in summary:
        found = {"ndcg10": summary["ndcg"]["10"], "hr10": summary["hr"]["10"]}
    else:
        found = {name: summary[name] for name in ("reward_mean", "pass_rate")}
    return {"split": split, "update": update, **found}


def _store(work: Work, result: TrainResult[Any]) -> None:
    """Store what the run left, its summary last: where that is, the rest is."""
    name, blobs = work.claim.spec["name"], work.store.blobs
    for file in ADAPTER_FILES:
        blobs.put_file(plan.training_file(name, file), result.adapter / file)
    lines = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in result.metrics)
    blobs.put_bytes(plan.training_file(name, METRICS), lines.encode())
    summary = {
        "updates": result.updates,
        "samples_seen": result.samples_seen,
        "stopped_early": result.stopped_early,
        "best_update": result.best_update,
        "evaluations": result.evaluations,
    }
    blobs.put_bytes(plan.training_file(name, SUMMARY), json.dumps(summary).encode())
