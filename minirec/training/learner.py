"""One update of GRPO with the recommendation head (docs/method.md, section 7): roll out, rank, step.

The loss is the weighted sum of

- the token loss: the clipped ratio times the rollout's advantage over everything that the policy drew in it, averaged
  over all tokens of the rollouts that have an advantage (each counts the same, whichever rollout it is from);
- the item loss: the same over the softmax of the sample's target and its negatives (each once, those in the user's
  history left out) for the best rollout of each group, averaged over the groups that have a signal. Negatives are items
  drawn from the catalogue, or the targets of the batch's other samples.

A batch is used for one step, so the policy that acted is the policy that learns: the old log-probabilities are the new
ones, detached, and every ratio is 1. Rollouts without an advantage contribute nothing and are left out of the pass with
gradients; a batch in which no group has a signal takes no step. Steps are AdamW's without weight decay, at a learning
rate that is constant or falls to zero over the run.

Several processes share a batch: each rolls out its samples and computes their part of the gradient. What the losses are
divided by and the items of the softmax are the whole batch's, gradients are added up before they are clipped, and so
all processes take the step that one would have taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings
from minirec.data.dataset import Sample
from minirec.policy.batching import in_batches
from minirec.policy.policy import Policy
from minirec.policy.ranks import SINGLE_PROCESS, Ranks
from minirec.policy.rewards import Outcomes
from minirec.policy.rollouts import Sampling
from minirec.selection import advantages
from minirec.training.experience import Episodes, Items, collect_rollouts, compute_outcomes
from minirec.training.forward import (
    embed_with_gradient,
    plan_trees,
    recomputes_activations,
    run_trees,
    tokens_that_fit,
    with_gradients,
)
from minirec.training.losses import ENDED, clipped_objective, item_log_probabilities
from minirec.training.packing import Branch, Tree


@dataclass(frozen=True)
class Learned:
    """What one update saw and did."""

    outcomes: Outcomes
    """Each (B, G)."""
    token_loss: float
    item_loss: float
    grad_norm: float
    """Before clipping."""
    dead_groups: int
    """Groups without a signal."""
    tokens: int
    """Tokens that the policy drew."""
    generation_seconds: float


class Learner:
    """A policy with LoRA weights, the optimizer that moves them, and how to take one step."""

    def __init__(
        self, policy: Policy, items: Items, rollouts: RolloutSettings, grpo: GrpoSettings, ranks: Ranks = SINGLE_PROCESS
    ) -> None:
        self.policy = policy
        self.items = items
        self.rollouts = rollouts
        self.grpo = grpo
        self.ranks = ranks
        self.weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=grpo.learning_rate, weight_decay=0.0)

    def update(
        self,
        samples: Sequence[Sample],
        catalogue: Tensor,
        noise: npt.NDArray[np.float64],
        negatives: Sequence[int] | None,
    ) -> Learned:
        """Learn from B samples, with the catalogue's unit vectors (M, d) and sampling noise (B, G, T).

        `negatives` are the items that targets are compared with in the item loss; None are the batch's targets.

        Raises ValueError when hidden states or gradients stop being finite.
        """
        started = time.perf_counter()
        share = self.ranks.share(len(samples))
        own = samples[share]
        episodes = collect_rollouts(self.policy, self.items, own, noise[share], self.rollouts)
        outcomes = compute_outcomes(episodes.z, catalogue, own, self.rollouts)
        generation_seconds = time.perf_counter() - started
        branches = _branches(episodes, outcomes, limit=noise.shape[2])
        groups, tokens = self._totals(sum(branch.best for branch in branches), int(episodes.sampled.sum()))
        losses, grad_norm = torch.zeros(2), 0.0
        if groups:
            gradients, losses = self.gradients(own, episodes.prompts, branches, negatives)
            grad_norm = self.step(gradients)
        return Learned(
            outcomes=_of_all_ranks(outcomes, self.ranks),
            token_loss=float(losses[0]),
            item_loss=float(losses[1]),
            grad_norm=grad_norm,
            dead_groups=len(samples) - groups,
            tokens=tokens,
            generation_seconds=generation_seconds,
        )

    def gradients(
        self,
        samples: Sequence[Sample],
        prompts: Sequence[Sequence[int]],
        branches: Sequence[Branch],
        negatives: Sequence[int] | None,
    ) -> tuple[list[Tensor], Tensor]:
        """Gradients of the loss, and the two losses (2,), gathered over micro-batches and ranks.

        `samples` are this rank's part of the batch, with their prompts and the rollouts of them that have an advantage.
        The item vectors' graph is shared by all micro-batches: they work on a copy of the vectors, and what they want
        of it goes back through the graph once, at the end.
        """
        budget = tokens_that_fit(self.policy, self.grpo)
        trees = plan_trees(self.policy, prompts, branches, budget) if branches else []
        drawn, groups = self._totals(
            sum(len(branch.drawn) for branch in branches), sum(branch.best for branch in branches)
        )
        losses = torch.zeros(2)
        with with_gradients(self.policy, recompute=recomputes_activations(self.policy, self.grpo)):
            contrast = Contrast.of(self.policy, self.items, samples, self.ranks, budget, negatives)
            wanted = [*self.weights, contrast.vectors]
            gradients = [torch.zeros_like(tensor) for tensor in wanted]

            def run(batch: Sequence[int]) -> None:
                token_sum, item_sum = self._objectives([trees[index] for index in batch], contrast)
                token_loss, item_loss = -token_sum / drawn, -item_sum / groups
                loss = self.grpo.token_loss_weight * token_loss + self.grpo.item_loss_weight * item_loss
                # All at once, so that a micro-batch that runs out of memory on the way has added nothing.
                _add(gradients, torch.autograd.grad(loss, wanted, materialize_grads=True))
                losses.add_(torch.stack([token_loss, item_loss]).detach().cpu())

            in_batches(range(len(trees)), max(1, budget // max(map(len, trees), default=1)), run)
            of_vectors = self.ranks.total(gradients.pop())[contrast.own]
            if len(of_vectors):
                _add(gradients, torch.autograd.grad(contrast.graph, self.weights, of_vectors, materialize_grads=True))
        self.ranks.add_up(gradients)
        return gradients, self.ranks.total(losses.to(self.policy.device)).cpu()

    def _totals(self, *counts: int) -> list[int]:
        """Counts of this rank, summed over all."""
        return self.ranks.total(torch.tensor(counts, device=self.policy.device)).tolist()

    def _objectives(self, trees: Sequence[Tree], contrast: Contrast) -> tuple[Tensor, Tensor]:
        """Sums of the clipped objectives of tokens and of items over the rollouts of a micro-batch."""
        branches = [branch for tree in trees for branch in tree.branches]
        log_probs, z = run_trees(self.policy, trees, Sampling.of(self.rollouts))
        advantage = z.new_tensor([branch.advantage for branch in branches])
        per_token = advantage.repeat_interleave(torch.tensor([len(branch.drawn) for branch in branches]).to(z.device))
        best = [index for index, branch in enumerate(branches) if branch.best]
        owners = [branches[index].sample for index in best]
        u = torch.nn.functional.normalize(z[best], dim=1)
        item_log_probs = contrast.log_probabilities(u, owners, tau=self.rollouts.tau)
        return self._clipped(log_probs, per_token), self._clipped(item_log_probs, advantage[best])

    def _clipped(self, log_probs: Tensor, advantage: Tensor) -> Tensor:
        clips = {"clip_low": self.grpo.clip_low, "clip_high": self.grpo.clip_high}
        return clipped_objective(log_probs, log_probs.detach(), advantage, **clips).sum()

    def set_learning_rate(self, share: float) -> None:
        """Step with this share of the learning rate from now on."""
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.grpo.learning_rate

    def step(self, gradients: Sequence[Tensor]) -> float:
        """Move the weights, and return the gradient's norm before it was clipped."""
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, self.grpo.max_grad_norm))
        if not math.isfinite(norm):
            raise ValueError("the gradient is not finite: lower learning_rate, or use bfloat16")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm


@dataclass(frozen=True)
class Contrast:
    """Targets and their negatives as the items of a softmax (docs/method.md, section 7)."""

    vectors: Tensor
    """(Y, d) unit vectors of the distinct items as a leaf: what micro-batches compute with."""
    own: slice
    """Which of them this rank has embedded."""
    graph: Tensor
    """Those, with the graph that made them."""
    chosen: Tensor
    """(B,) which of the items is each sample's target, for this rank's part of the batch."""
    masked: Tensor
    """(B, Y), true for items that are not compared with a sample's target: no negatives, or in its history."""

    @classmethod
    def of(
        cls,
        policy: Policy,
        items: Items,
        samples: Sequence[Sample],
        ranks: Ranks,
        budget: int,
        negatives: Sequence[int] | None,
    ) -> Contrast:
        """Embed the items that a batch is contrasted with.

        Args:
            policy: The model that is trained.
            items: The catalogue.
            samples: This rank's part of the batch.
            ranks: Each rank embeds a part of the items.
            budget: How many tokens to embed at once.
            negatives: Rows of the items to compare the targets with; None compares them with each other.
        """
        targets = ranks.gather([sample.target for sample in samples])
        negatives = targets if negatives is None else negatives
        compared = sorted({*targets, *negatives})
        own = ranks.share(len(compared))
        graph = embed_with_gradient(policy, [items[row] for row in compared[own]], budget)
        vectors = graph.new_zeros(len(compared), policy.hidden_size)
        vectors[own] = graph.detach()
        chosen = torch.tensor([compared.index(sample.target) for sample in samples], device=policy.device)
        allowed = [set(negatives).difference(sample.history) | {sample.target} for sample in samples]
        masked = torch.tensor([[row not in rows for row in compared] for rows in allowed], device=policy.device)
        return cls(ranks.total(vectors).requires_grad_(), own, graph, chosen, masked)

    def log_probabilities(self, u: Tensor, owners: Sequence[int], *, tau: float) -> Tensor:
        """Return the log-probability (S,) of their samples' targets for unit rows u (S, d)."""
        rows = list(owners)
        return item_log_probabilities(u, self.vectors, self.chosen[rows], self.masked[rows], tau=tau)


def _branches(episodes: Episodes, outcomes: Outcomes, *, limit: int) -> list[Branch]:
    """Return the rollouts that have an advantage, in the order of their samples."""
    reward = outcomes.reward.cpu().numpy()
    advantage, _ = advantages(reward, (outcomes.ndcg > 0).cpu().numpy())
    branches = []
    for sample, rollout in np.argwhere(advantage != 0).tolist():
        tokens, sampled = episodes.tokens[sample][rollout], int(episodes.sampled[sample, rollout])
        drawn = what_was_drawn(tokens, sampled, limit=limit)
        best = rollout == int(reward[sample].argmax())
        branches.append(Branch(sample, tokens, drawn, float(advantage[sample, rollout]), best))
    return branches


def _of_all_ranks(outcomes: Outcomes, ranks: Ranks) -> Outcomes:
    """Return the whole batch's outcomes from those of each rank's part."""
    names = [field.name for field in fields(outcomes)]
    samples = ranks.gather([*zip(*(getattr(outcomes, name).cpu() for name in names), strict=True)])
    return Outcomes(*map(torch.stack, zip(*samples, strict=True)))


def what_was_drawn(tokens: Sequence[int], sampled: int, *, limit: int) -> list[int]:
    """Return the policy's choices in a rollout: its first `sampled` tokens, and `ENDED` where it stopped by itself.

    An `<answer>` that was appended for it is none of them.
    """
    ended = sampled < min(len(tokens), limit)
    return [*tokens[:sampled], *([ENDED] if ended else [])]


def _add(totals: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    for total, part in zip(totals, parts, strict=True):
        total += part
