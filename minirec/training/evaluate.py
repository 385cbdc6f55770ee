"""How well a policy recommends: HR@k and NDCG@k over the whole catalogue, one greedy rollout per sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minirec.api_schemas.evaluations import Ranking
from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Dataset
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.ranks import SINGLE_PROCESS, Ranks
from minirec.training.experience import collect_rollouts, compute_outcomes, ndcg_at

CUTOFFS = (5, 10, 20, 50)
BATCH = 64
"""Samples between two calls of `on_samples`, and more where a GPU takes more at once."""


@dataclass(frozen=True)
class Evaluation:
    """Means over samples, and what they are means of."""

    samples: int
    hit_rate: dict[int, float]
    """HR@k: share of the samples whose target is among the first k."""
    ndcg: dict[int, float]
    """NDCG@k: 1 / log2(rank + 1) of a target among the first k, else 0."""
    ranks: tuple[int, ...]
    """1-based rank of each sample's target, in the order of the rows: what paired comparisons need."""
    log_probabilities: tuple[float, ...] = ()
    """Natural logarithm of each target's probability in the softmax over the catalogue: moves where ranks do not."""

    @property
    def score(self) -> float:
        """NDCG over all ranks, which the best adapter is chosen by: every sample counts, also those far down."""
        return float(np.mean(1 / np.log2(np.array(self.ranks) + 1)))

    def summary(self) -> Ranking:
        """Return the same as the API shows it."""
        hr, ndcg = ({str(k): mean for k, mean in means.items()} for means in (self.hit_rate, self.ndcg))
        return Ranking(samples=self.samples, hr=hr, ndcg=ndcg, ndcg_full=self.score)


def evaluate(
    policy: Policy,
    *,
    dataset: Dataset,
    rows: Sequence[int],
    rollouts: RolloutSettings,
    on_samples: Callable[[int], None] | None = None,
    on_items: Callable[[int], None] | None = None,
    catalogue: Tensor | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> Evaluation:
    """Rank each sample's target among all items but its history, with the target never left out itself.

    The rollouts are greedy, so no seed plays a part.

    Args:
        policy: The model to evaluate.
        dataset: The samples and their catalogue of M items.
        rows: Rows of the samples to evaluate on.
        rollouts: Limits of the rollouts; group size and sampling make no difference.
        on_samples: Called with the number of samples done; may raise to stop.
        on_items: Called before that with the number of items embedded; may raise to stop.
        catalogue: (M, d) unit vectors of the items under this policy, where they are known already.
        ranks: With several processes, each evaluates a part and returns the whole.

    Raises:
        ValueError: There are no rows.
    """
    if not len(rows):
        raise ValueError("there are no samples to evaluate on")
    items = dataset.items
    if catalogue is None:
        catalogue = torch.from_numpy(embed_items(policy, items, on_batch=on_items, ranks=ranks)).to(policy.device)
    own = rows[ranks.share(len(rows))]
    found: list[int] = []
    logs: list[float] = []
    size = max(BATCH, policy.samples_at_once(1))
    for start in range(0, len(own), size):
        samples = [dataset.sample(int(row)) for row in own[start : start + size]]
        greedy = np.zeros((len(samples), 1, rollouts.max_new_tokens))
        z = collect_rollouts(policy, items, samples, greedy, rollouts).z
        outcomes = compute_outcomes(z, catalogue, samples, rollouts)
        found += outcomes.rank[:, 0].tolist()
        logs += outcomes.target_probability[:, 0].log().tolist()
        if on_samples is not None:
            on_samples(start + len(samples))
    rank = torch.tensor(ranks.gather(found))
    return Evaluation(
        samples=len(rank),
        hit_rate={k: float((rank <= k).double().mean()) for k in CUTOFFS},
        ndcg={k: float(ndcg_at(rank, k).mean()) for k in CUTOFFS},
        ranks=tuple(rank.tolist()),
        log_probabilities=tuple(ranks.gather(logs)),
    )
