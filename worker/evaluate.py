"""What held-out samples are worth under a model as it is, or with the adapter that was trained for it."""

from __future__ import annotations

import json

import torch

from api_schemas import Ranking, RolloutSettings, TextReward, TextScore
from minirec.policy.policy import Policy
from minirec.rewards import Scorer
from minirec.store.machine import Outcome
from minirec.training.evaluate import evaluate
from minirec.training.evaluate_text import evaluate_text
from worker import plan
from worker.catalogue import find_catalogue
from worker.datasets import open_dataset, open_prompts
from worker.policies import ADAPTER_FILES, load_with
from worker.train import evaluation_event
from worker.training_plan import SUMMARY
from worker.work import Work


def run(work: Work) -> Outcome:
    """Store HR@k and NDCG@k over the whole catalogue, or what answers to prompts earn."""
    spec, blobs, name = work.claim.spec, work.store.blobs, work.claim.spec["name"]
    rows = blobs.get_arrays(plan.pool_blob(name))["rows"].tolist()
    training, update, adapter = spec["training"], 0, []
    if training is not None:
        update = json.loads(blobs.local_path(plan.training_file(training, SUMMARY)).read_bytes())["best_update"]
        adapter = [plan.training_file(training, file) for file in ADAPTER_FILES]
    measure = _rank if spec.get("rewards") is None else _reward
    summary = measure(work, load_with(work, adapter), rows)
    blobs.put_bytes(plan.ranking_blob(name), summary.model_dump_json().encode())
    work.tell("evaluation", evaluation_event("test", update, summary.model_dump()))
    work.done = len(rows)
    return Outcome()


def _rank(work: Work, policy: Policy, rows: list[int]) -> Ranking:
    spec = work.claim.spec
    stored = None if spec.get("catalogue") is None else find_catalogue(work.store, spec["catalogue"])
    return evaluate(
        policy,
        dataset=open_dataset(work.store.blobs, spec["content_hash"]),
        rows=rows,
        rollouts=RolloutSettings.model_validate(spec["rollouts"]),
        on_items=lambda _: work.check(),
        on_samples=work.progress,
        catalogue=None if stored is None else torch.from_numpy(stored).to(policy.device),
    ).summary()


def _reward(work: Work, policy: Policy, rows: list[int]) -> TextScore:
    spec = work.claim.spec
    return evaluate_text(
        policy,
        dataset=open_prompts(work.store.blobs, spec["content_hash"]),
        rows=rows,
        scorer=Scorer([TextReward.model_validate(reward) for reward in spec["rewards"]]),
        rollouts=RolloutSettings.model_validate(spec["rollouts"]),
        on_prompts=work.progress,
    ).summary()
