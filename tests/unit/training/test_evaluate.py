"""HR@k and NDCG@k over the whole catalogue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Dataset
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompt
from minirec.policy.rollouts import Sampling, roll_out
from minirec.training.evaluate import evaluate
from minirec.training.experience import ndcg_at


def test_targets_are_ranked_among_everything_but_the_history(
    policy: Policy, dataset: Dataset, rollouts: RolloutSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minirec.training.evaluate.CUTOFFS", (1, 2, 3))
    ranks = []
    vectors = embed_items(policy, dataset.items)
    for row in range(7):
        sample = dataset.sample(row)
        prompt = user_prompt(policy, dataset.items, sample, window=rollouts.window, room=rollouts.max_new_tokens + 20)
        z = roll_out(policy, [prompt], np.zeros((1, 1, rollouts.max_new_tokens)), Sampling.of(rollouts)).z[0, 0]
        scores = vectors @ torch.nn.functional.normalize(z, dim=0).cpu().numpy()
        rivals = set(range(6)) - set(sample.history) - {sample.target}
        ranks.append(1 + sum(scores[rival] > scores[sample.target] for rival in rivals))
    result = evaluate(policy, dataset=dataset, rows=range(7), rollouts=rollouts)
    assert result.samples == 7
    for k in (1, 2, 3):
        assert result.hit_rate[k] == pytest.approx(np.mean([rank <= k for rank in ranks]))
        gains = [1 / math.log2(rank + 1) if rank <= k else 0.0 for rank in ranks]
        assert result.ndcg[k] == pytest.approx(np.mean(gains))
    assert 0 < result.hit_rate[3] < 1


def test_the_seed_plays_no_part(policy: Policy, dataset: Dataset, rollouts: RolloutSettings) -> None:
    first = evaluate(policy, dataset=dataset, rows=range(4), rollouts=rollouts)
    other = rollouts.model_copy(update={"seed": 9, "temperature": 5.0})
    assert evaluate(policy, dataset=dataset, rows=range(4), rollouts=other) == first


def test_progress_is_heard_and_may_stop_it(policy: Policy, dataset: Dataset, rollouts: RolloutSettings) -> None:
    def stop(done: int) -> None:
        raise KeyError(done)

    with pytest.raises(KeyError, match="7"):
        evaluate(policy, dataset=dataset, rows=range(7), rollouts=rollouts, on_samples=stop)
    with pytest.raises(ValueError, match="no samples"):
        evaluate(policy, dataset=dataset, rows=[], rollouts=rollouts)


def test_ndcg_is_one_at_the_top_and_nothing_beyond_the_cutoff() -> None:
    ndcg = ndcg_at(torch.tensor([1, 2, 3, 10, 11]), 10)
    assert ndcg.tolist() == pytest.approx([1.0, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0.0])
