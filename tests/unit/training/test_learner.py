"""One update against its definition written out plainly: a pass per rollout, nothing shared, no micro-batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings
from minirec.data.dataset import Dataset, Sample
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.prompts import item_prompt, user_prompt
from minirec.policy.rollouts import Sampling, draw
from minirec.training import forward
from minirec.training.experience import collect_rollouts
from minirec.training.learner import Learner, what_was_drawn
from minirec.training.lora import with_lora
from minirec.training.losses import ENDED
from minirec.training.packing import Branch

GRPO = GrpoSettings(learning_rate=1e-3, lora_alpha=8, token_loss_weight=0.7, item_loss_weight=0.4)


@pytest.fixture
def learner(policy64: Policy, dataset: Dataset, rollouts: RolloutSettings) -> Iterator[Learner]:
    with with_lora(policy64, GRPO) as policy:
        learner = Learner(policy, dataset.items, rollouts, GRPO)
        with torch.no_grad():
            # B starts as zeros, which would leave A without any gradient.
            for seed, weight in enumerate(learner.weights):
                weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
        yield learner


@pytest.fixture
def samples(dataset: Dataset) -> list[Sample]:
    """Three that share no target, one whose history has another's target, and one with a target twice in the batch."""
    return [dataset.sample(row) for row in (1, 0, 6, 3)]


@pytest.fixture
def prompts(learner: Learner, samples: list[Sample]) -> list[list[int]]:
    return [user_prompt(learner.policy, learner.items, sample, window=5, room=20) for sample in samples]


@pytest.fixture
def branches(learner: Learner) -> list[Branch]:
    """Two groups with a signal: rollouts that say `<answer>`, run out of room, and end their turn; the rest is dead."""
    answer, end = learner.policy.answer_ids, ENDED
    return [
        Branch(0, [70, 71, *answer], [70, 71, *answer], 1.4, True),
        Branch(0, [72, 73, 74, 75, *answer], [72, 73, 74, 75], -0.9, False),
        Branch(0, [76, *answer], [76, end], -0.5, False),
        Branch(2, [77, 78, *answer], [77, 78, end], 0.8, True),
        Branch(2, [*answer], [end], -0.8, False),
    ]


def plain_pass(policy: Policy, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Logits (L, V) and the last z (d,) of one unpadded sequence."""
    output = policy.model(input_ids=torch.tensor([list(tokens)]), output_hidden_states=True)
    return output.logits[0], output.hidden_states[-1][0, -1]


def plain_loss(
    learner: Learner,
    samples: Sequence[Sample],
    prompts: Sequence[list[int]],
    branches: Sequence[Branch],
    negatives: Sequence[int] | None,
) -> Tensor:
    policy, settings = learner.policy, learner.rollouts
    targets = {sample.target for sample in samples}
    compared = targets if negatives is None else set(negatives)
    vectors = {}
    for item in targets | compared:
        z = plain_pass(policy, item_prompt(policy, learner.items[item]))[1]
        vectors[item] = z / z.norm()
    token_terms, item_terms = [], []
    for branch in branches:
        sample, prompt = samples[branch.sample], prompts[branch.sample]
        logits, z = plain_pass(policy, [*prompt, *branch.tokens])
        for step, drawn in enumerate(branch.drawn):
            scaled = logits[len(prompt) - 1 + step] / settings.temperature
            allowed = scaled.topk(settings.top_k).values.exp().sum()
            chosen = scaled[sorted(policy.end_ids)] if drawn == ENDED else scaled[[drawn]]
            log_probability = torch.log(chosen.exp().sum() / allowed)
            token_terms.append(branch.advantage * torch.exp(log_probability - log_probability.detach()))
        if branch.best:
            u = z / z.norm()
            others = compared - set(sample.history) | {sample.target}
            scores = {item: u @ vectors[item] / settings.tau for item in others}
            log_probability = scores[sample.target] - torch.logsumexp(torch.stack(list(scores.values())), 0)
            item_terms.append(branch.advantage * torch.exp(log_probability - log_probability.detach()))
    token_loss = -torch.stack(token_terms).sum() / sum(len(branch.drawn) for branch in branches)
    item_loss = -torch.stack(item_terms).sum() / len(item_terms)
    return GRPO.token_loss_weight * token_loss + GRPO.item_loss_weight * item_loss


@pytest.mark.parametrize("negatives", [None, [0, 3, 5]], ids=["batch", "drawn"])
@pytest.mark.parametrize("budget", [None, 500, 1], ids=["one batch", "several", "rollout by rollout"])
def test_the_gradient_is_that_of_the_plain_definition(
    learner: Learner,
    samples: list[Sample],
    prompts: list[list[int]],
    branches: list[Branch],
    budget: int | None,
    negatives: list[int] | None,
) -> None:
    learner.grpo = GRPO.model_copy(update={"micro_batch_tokens": budget})
    gradients, losses = learner.gradients(samples, prompts, branches, negatives)
    expected = plain_loss(learner, samples, prompts, branches, negatives)
    for gradient, plain in zip(gradients, torch.autograd.grad(expected, learner.weights), strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(gradient, plain, rtol=1e-5, atol=1e-7)
    total = GRPO.token_loss_weight * losses[0] + GRPO.item_loss_weight * losses[1]
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_models_that_cannot_share_prompts_get_the_same_gradient(
    learner: Learner,
    samples: list[Sample],
    prompts: list[list[int]],
    branches: list[Branch],
) -> None:
    shared, _ = learner.gradients(samples, prompts, branches, None)
    learner.policy.attention_only = False
    apart, _ = learner.gradients(samples, prompts, branches, None)
    torch.testing.assert_close(shared, apart, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("budget", [None, 1], ids=["one batch", "rollout by rollout"])
def test_recomputing_activations_changes_no_gradient(
    learner: Learner,
    samples: list[Sample],
    prompts: list[list[int]],
    branches: list[Branch],
    budget: int | None,
) -> None:
    passes: list[int] = []
    model = learner.policy.model.get_base_model()
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: passes.append(1))
    found = []
    for recompute in (False, True):
        learner.grpo = GRPO.model_copy(update={"gradient_checkpointing": recompute, "micro_batch_tokens": budget})
        passes.clear()
        found.append((learner.gradients(samples, prompts, branches, None)[0], len(passes)))
    (kept, once), (recomputed, again) = found
    assert again > once
    torch.testing.assert_close(recomputed, kept, rtol=1e-8, atol=1e-12)
    assert not learner.policy.model.training
    assert not model.get_input_embeddings()._forward_hooks


def test_no_pass_has_more_tokens_than_the_bound(
    learner: Learner,
    samples: list[Sample],
    prompts: list[list[int]],
    branches: list[Branch],
) -> None:
    bound = max(len(prompts[branch.sample]) + len(branch.tokens) for branch in branches)
    learner.grpo = GRPO.model_copy(update={"micro_batch_tokens": bound})
    sizes: list[int] = []
    learner.policy.model.get_base_model().register_forward_pre_hook(
        lambda *hooked: sizes.append(hooked[2]["input_ids"].numel()), with_kwargs=True
    )
    learner.gradients(samples, prompts, branches, None)
    assert len(sizes) > 4
    assert max(sizes) <= bound


def test_reasoning_tokens_get_a_gradient_of_their_own(
    learner: Learner, samples: list[Sample], prompts: list[list[int]], branches: list[Branch]
) -> None:
    learner.grpo = GRPO.model_copy(update={"item_loss_weight": 0.0})
    gradients, _ = learner.gradients(samples, prompts, branches, None)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_a_step_makes_good_reasoning_likelier_and_bad_reasoning_less_likely(
    learner: Learner, samples: list[Sample], prompts: list[list[int]], branches: list[Branch]
) -> None:
    learner.grpo = GRPO.model_copy(update={"item_loss_weight": 0.0})

    per_choice = [branch.advantage for branch in branches for _ in branch.drawn]

    def worth() -> float:
        """Sum of advantage times log-probability of what was drawn."""
        trees = forward.plan_trees(learner.policy, prompts, branches, 1024)
        with torch.no_grad():
            log_probs, _ = forward.run_trees(learner.policy, trees, Sampling.of(learner.rollouts))
        return float(sum(value * each for value, each in zip(per_choice, log_probs.tolist(), strict=True)))

    before = worth()
    learner.step(learner.gradients(samples, prompts, branches, None)[0])
    assert worth() > before


def ring_catalogue(learner: Learner) -> Tensor:
    return torch.from_numpy(embed_items(learner.policy, learner.items))


def test_what_counts_as_drawn_is_what_the_noise_drew(learner: Learner, samples: list[Sample]) -> None:
    noise = np.random.default_rng(3).random((4, 8, 12))
    noise[0, :2, 2] = 0.999999  # far into the tail, where the end of the turn is
    episodes = collect_rollouts(learner.policy, learner.items, samples, noise, learner.rollouts)
    endings = 0
    for sample, rollout in np.ndindex(4, 8):
        tokens, sampled = episodes.tokens[sample][rollout], int(episodes.sampled[sample, rollout])
        drawn = what_was_drawn(tokens, sampled, limit=12)
        with torch.no_grad():
            logits, _ = plain_pass(learner.policy, [*episodes.prompts[sample], *tokens])
        first = len(episodes.prompts[sample]) - 1
        again = draw(
            logits[first : first + len(drawn)], noise[sample, rollout, : len(drawn)], Sampling.of(learner.rollouts)
        )
        ends = [token in learner.policy.end_ids for token in again.tolist()]
        assert [ENDED if end else token for token, end in zip(again.tolist(), ends, strict=True)] == drawn
        endings += any(ends)
    assert endings


def test_groups_without_a_signal_leave_the_weights_alone(learner: Learner, samples: list[Sample]) -> None:
    before = [weight.clone() for weight in learner.weights]
    learned = learner.update(samples, ring_catalogue(learner), np.zeros((4, 4, 4)), None)
    assert learned.dead_groups == 4
    assert learned.grad_norm == learned.token_loss == learned.item_loss == 0
    assert all(torch.equal(weight, old) for weight, old in zip(learner.weights, before, strict=True))
    assert not learner.optimizer.state


def test_a_dead_group_takes_no_part_in_the_token_loss(
    learner: Learner, samples: list[Sample], prompts: list[list[int]], branches: list[Branch]
) -> None:
    learner.grpo = GRPO.model_copy(update={"item_loss_weight": 0.0})
    with_dead, _ = learner.gradients(samples, prompts, branches, None)
    alive = [replace(branch, sample=branch.sample // 2) for branch in branches]
    without, _ = learner.gradients(samples[::2], prompts[::2], alive, None)
    torch.testing.assert_close(with_dead, without, rtol=1e-8, atol=1e-12)


def test_only_lora_weights_move(learner: Learner, samples: list[Sample]) -> None:
    before = {name: weight.clone() for name, weight in learner.policy.model.named_parameters()}
    learned = learner.update(samples, ring_catalogue(learner), np.random.default_rng(0).random((4, 4, 4)), None)
    assert learned.grad_norm > 0
    moved = {name for name, weight in learner.policy.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if "lora_" in name}


def test_a_batch_of_one_sample_has_no_contrast_but_still_learns_to_reason(
    learner: Learner, samples: list[Sample]
) -> None:
    learned = learner.update(samples[:1], ring_catalogue(learner), np.random.default_rng(0).random((1, 4, 4)), None)
    assert learned.dead_groups == 0
    assert learned.grad_norm > 0


def test_weights_that_diverge_are_reported(learner: Learner) -> None:
    broken = [torch.full_like(weight, math.nan) for weight in learner.weights]
    with pytest.raises(ValueError, match="not finite: lower learning_rate"):
        learner.step(broken)
