"""Last stage of a training job: what came out, in a few numbers and in one file."""

from __future__ import annotations

import json
from typing import Any

from minirec.api_schemas import TrainingResult
from minirec.specs import FinishTraining
from minirec.specs.outputs import (
    ADAPTER_FILES,
    EVALUATION,
    METRICS,
    SUMMARY,
    evaluation_blob,
    job_file,
    training_file,
)
from minirec.store.blobs import BlobStore
from minirec.store.machine import Outcome
from minirec.worker.work import Work


def run(work: Work, spec: FinishTraining) -> Outcome:
    """Sum up the training run and its evaluations."""
    blobs = work.store.blobs
    summary = _read(blobs, training_file(spec.training, SUMMARY))
    names = {"before": spec.before, "after": spec.after}
    for file in (*ADAPTER_FILES, METRICS):
        blobs.local_path(training_file(spec.training, file))  # Raises LostError: clients may download it.
    test = {when: _read(blobs, evaluation_blob(name)) for when, name in names.items() if name is not None}
    result = summarise(summary, test)
    evaluation = {"best_update": result.best_update, "valid": summary["evaluations"], "test": test}
    blobs.put_bytes(job_file(spec.job_id, EVALUATION), json.dumps(evaluation, indent=2).encode())
    work.done = 1
    return Outcome(job={"result": result.model_dump_json()})


UNCHANGED = (
    "no update was better than the model as it was, by {measure} of {evaluations} evaluations on validation samples: "
    "the adapter is the start itself and changes nothing. Train for more updates, with another learning_rate, or on "
    "more samples; a model that is far from the task may need supervised fine-tuning first"
)
"""Said of a run that found nothing better than its start."""
MEASURES = {"ndcg": "the NDCG over all ranks", "reward_mean": "the mean reward"}
"""What an evaluation is judged by, by a field that it has."""


def summarise(summary: dict[str, Any], test: dict[str, Any]) -> TrainingResult:
    """Return the job's result, from the run's summary and its evaluations on test samples."""
    valid = {entry["update"]: entry for entry in summary["evaluations"]}
    best = valid.get(summary["best_update"])
    return TrainingResult(
        updates=summary["updates"],
        samples_seen=summary["samples_seen"],
        stopped_early=summary["stopped_early"],
        best_update=summary["best_update"],
        improved=summary["best_update"] > 0 if valid else None,
        warnings=_warnings(summary),
        valid_ndcg10=best["ndcg"]["10"] if best and "ndcg" in best else None,
        valid_reward=best["reward_mean"] if best and "reward_mean" in best else None,
        test_before=test.get("before"),
        test_after=test.get("after"),
    )


def _warnings(summary: dict[str, Any]) -> list[str]:
    """Return that an adapter is of no use where it is its start."""
    evaluations = summary["evaluations"]
    if summary["best_update"] > 0 or not evaluations:
        return []
    (measure,) = [words for field, words in MEASURES.items() if field in evaluations[0]]
    return [UNCHANGED.format(measure=measure, evaluations=len(evaluations))]


def _read(blobs: BlobStore, blob: str) -> Any:
    return json.loads(blobs.local_path(blob).read_bytes())
