"""Rank held-out targets with a model as it is, or with the adapter that was trained for it."""

from __future__ import annotations

import json

import torch

from api_schemas import RolloutSettings
from minirec.store.machine import Outcome
from minirec.training.evaluate import evaluate
from worker import plan
from worker.catalogue import find_catalogue
from worker.datasets import open_dataset
from worker.policies import ADAPTER_FILES, load_with
from worker.train import evaluation_event
from worker.training_plan import SUMMARY
from worker.work import Work


def run(work: Work) -> Outcome:
    """Store HR@k and NDCG@k over the whole catalogue."""
    spec, blobs, name = work.claim.spec, work.store.blobs, work.claim.spec["name"]
    rows = blobs.get_arrays(plan.pool_blob(name))["rows"]
    training, update, adapter = spec["training"], 0, []
    if training is not None:
        update = json.loads(blobs.local_path(plan.training_file(training, SUMMARY)).read_bytes())["best_update"]
        adapter = [plan.training_file(training, file) for file in ADAPTER_FILES]
    policy = load_with(work, adapter)
    stored = None if spec.get("catalogue") is None else find_catalogue(work.store, spec["catalogue"])
    ranking = evaluate(
        policy,
        dataset=open_dataset(blobs, spec["content_hash"]),
        rows=rows.tolist(),
        rollouts=RolloutSettings.model_validate(spec["rollouts"]),
        on_items=lambda _: work.check(),
        on_samples=work.progress,
        catalogue=None if stored is None else torch.from_numpy(stored).to(policy.device),
    ).ranking()
    blobs.put_bytes(plan.ranking_blob(name), ranking.model_dump_json().encode())
    work.tell("evaluation", evaluation_event("test", update, ranking))
    work.done = len(rows)
    return Outcome()
