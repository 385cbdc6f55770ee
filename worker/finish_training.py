"""Last stage of a training job: what came out, in a few numbers and in one file."""

from __future__ import annotations

import json
from typing import Any

from api_schemas import TrainingResult
from minirec.store.machine import Outcome
from worker import plan
from worker.policies import ADAPTER_FILES
from worker.training_plan import METRICS, SUMMARY
from worker.work import Work


def run(work: Work) -> Outcome:
    """Sum up the training run and its evaluations."""
    spec = work.claim.spec
    summary = _read(work, plan.training_file(spec["training"], SUMMARY))
    rankings = {when: _read(work, plan.ranking_blob(name)) for when, name in spec["rankings"].items()}
    valid = {entry["update"]: entry for entry in summary["evaluations"]}
    best = valid.get(summary["best_update"])
    for file in (*ADAPTER_FILES, METRICS):
        work.store.blobs.local_path(plan.training_file(spec["training"], file))  # Raises LostError.
    result = TrainingResult(
        updates=summary["updates"],
        samples_seen=summary["samples_seen"],
        stopped_early=summary["stopped_early"],
        best_update=summary["best_update"],
        valid_ndcg10=best["ndcg"]["10"] if best and "ndcg" in best else None,
        valid_reward=best["reward_mean"] if best and "reward_mean" in best else None,
        test_before=rankings.get("before"),
        test_after=rankings.get("after"),
    )
    evaluation = {"best_update": result.best_update, "valid": summary["evaluations"], "test": rankings}
    work.store.blobs.put_bytes(plan.evaluation_blob(spec["job_id"]), json.dumps(evaluation, indent=2).encode())
    work.done = 1
    return Outcome(job={"result": result.model_dump_json()})


def _read(work: Work, blob: str) -> Any:
    return json.loads(work.store.blobs.local_path(blob).read_bytes())
