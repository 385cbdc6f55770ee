"""Score a shard of the pool: one rollout pass gives rewards, gradients, Hessian-vector products, embeddings."""

from __future__ import annotations

from dataclasses import asdict

from api_schemas import RolloutSettings
from minirec.policy.scoring import score_samples
from minirec.store.blobs import Arrays
from minirec.store.machine import Outcome
from worker.catalogue import load_catalogue
from worker.datasets import open_dataset
from worker.policies import policy_of
from worker.shards import score_shard
from worker.work import Work


def run(work: Work) -> Outcome:
    """Roll out the samples, and rank their targets in the catalogue."""
    spec = work.claim.spec
    dataset = open_dataset(work.store.blobs, spec["content_hash"])

    def measure(rows: list[int]) -> Arrays:
        scored = score_samples(
            policy_of(work),
            load_catalogue(work.store, spec["catalogue"]),
            dataset.items,
            [dataset.sample(row) for row in rows],
            rollouts=RolloutSettings.model_validate(spec["rollouts"]),
            profile=spec["profile"],
        )
        return asdict(scored)

    return score_shard(work, dataset.ids, measure)
