"""What held-out samples are worth under a model as it is, or with the adapter that was trained for it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch

from minirec.api_schemas import Ranking, TextScore
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.rewards import Scorer
from minirec.specs import EvaluateSpec
from minirec.specs.outputs import ADAPTER_FILES, SUMMARY, training_file
from minirec.store.blobs import BlobStore
from minirec.store.machine import Outcome
from minirec.training.evaluate import evaluate
from minirec.training.evaluate_text import evaluate_text
from minirec.worker.catalogue import find_catalogue
from minirec.worker.datasets import open_dataset, open_prompts
from minirec.worker.policies import resolve_pinned, with_adapter
from minirec.worker.stored_rows import stored_rows
from minirec.worker.train import evaluation_event
from minirec.worker.work import Work


def run(work: Work, spec: EvaluateSpec) -> Outcome:
    """Store HR@k and NDCG@k over the whole catalogue, or what answers to prompts earn."""
    blobs = work.store.blobs
    rows = stored_rows(work.store, spec, "test")
    model, update = resolve_pinned(spec.model, work.settings), 0
    if spec.training is not None:
        update = _best_update(blobs, spec.training)
        model = with_adapter(model, blobs, [training_file(spec.training, file) for file in ADAPTER_FILES])
    policy = load_policy(model)
    summary = _rank(work, spec, policy, rows) if spec.rewards is None else _reward(work, spec, policy, rows)
    blobs.put_bytes(spec.blob, summary.model_dump_json().encode())
    work.report_event("evaluation", evaluation_event(spec.split, update, summary.model_dump()))
    work.done = len(rows)
    return Outcome()


def _best_update(blobs: BlobStore, training: str) -> int:
    """Return how many updates the adapter of a training run has seen."""
    update: int = json.loads(blobs.local_path(training_file(training, SUMMARY)).read_bytes())["best_update"]
    return update


def _rank(work: Work, spec: EvaluateSpec, policy: Policy, rows: Sequence[int]) -> Ranking:
    stored = None if spec.catalogue is None else find_catalogue(work.store, spec.catalogue)
    return evaluate(
        policy,
        dataset=open_dataset(work.store.blobs, spec.content_hash),
        rows=rows,
        rollouts=spec.rollouts,
        on_items=lambda _: work.check(),
        on_samples=work.progress,
        catalogue=None if stored is None else torch.from_numpy(stored).to(policy.device),
    ).summary()


def _reward(work: Work, spec: EvaluateSpec, policy: Policy, rows: Sequence[int]) -> TextScore:
    return evaluate_text(
        policy,
        dataset=open_prompts(work.store.blobs, spec.content_hash),
        rows=rows,
        scorer=Scorer(spec.rewards or ()),
        rollouts=spec.rollouts,
        on_prompts=work.progress,
    ).summary()
