"""Score a shard of a pool of prompts: answers give rewards, gradients and Hessian-vector products per token."""

from __future__ import annotations

from dataclasses import asdict

from api_schemas import RolloutSettings, TextReward
from minirec.policy.text_scoring import score_prompts
from minirec.rewards import Scorer
from minirec.store.blobs import Arrays
from minirec.store.machine import Outcome
from worker.datasets import open_prompts
from worker.policies import policy_of
from worker.shards import score_shard
from worker.work import Work


def run(work: Work) -> Outcome:
    """Answer the prompts, and add up what the answers earn."""
    spec = work.claim.spec
    dataset = open_prompts(work.store.blobs, spec["content_hash"])
    scorer = Scorer([TextReward.model_validate(reward) for reward in spec["rewards"]])
    rollouts = RolloutSettings.model_validate(spec["rollouts"])

    def measure(rows: list[int]) -> Arrays:
        return asdict(score_prompts(policy_of(work), [dataset.prompt(row) for row in rows], scorer, rollouts=rollouts))

    return score_shard(work, dataset.ids, measure)
