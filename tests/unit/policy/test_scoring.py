"""One rollout pass: what it measures, and that it measures what a straightforward computation would."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.policy import scoring
from minirec.policy.catalogue import embed_items
from minirec.policy.errors import InvalidSampleError
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompt
from minirec.policy.rollouts import Sampling, roll_out, sampling_noise
from minirec.policy.scoring import ScoredSamples, score_samples
from minirec.selection import advantages

Items = list[dict[str, Any]]
SETTINGS = RolloutSettings(max_new_tokens=8, ndcg_k=40)
EXACT = {"rank", "signal", "generated_tokens", "prompt_tokens"}


@pytest.fixture(scope="session")
def catalogue(policy: Policy, items: Items) -> npt.NDArray[np.float32]:
    return embed_items(policy, items)


@pytest.fixture(scope="session")
def scored(policy: Policy, catalogue: Any, items: Items, samples: list[Sample]) -> ScoredSamples:
    return score_samples(policy, catalogue, items, samples, rollouts=SETTINGS)


def assert_same(left: ScoredSamples, right: ScoredSamples, *, tolerance: float) -> None:
    for field in [field for field in fields(ScoredSamples) if field.name != "texts"]:
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        if field.name in EXACT or tolerance == 0:
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=field.name)


def straightforward(
    policy: Policy, catalogue: Any, items: Items, sample: Sample
) -> tuple[list[float], torch.Tensor, torch.Tensor]:
    """Rewards, gradient and HVP of one sample: full forward passes over given tokens, a dense softmax and autograd."""
    prompt = user_prompt(policy, items, sample, window=SETTINGS.window, room=20)
    noise = sampling_noise(sample.id, seed=SETTINGS.seed, rollouts=SETTINGS.group_size, length=SETTINGS.max_new_tokens)
    sampling = Sampling(SETTINGS.temperature, SETTINGS.top_k, SETTINGS.top_p)
    rolled = roll_out(policy, [prompt], noise[None], sampling)
    vectors = torch.from_numpy(catalogue).double()
    hidden = [item for item in sample.history if item != sample.target]
    states, log_ps, rewards = [], [], []
    for tokens in rolled.tokens[0]:
        with torch.no_grad():
            output = policy.model(torch.tensor([prompt + tokens]), output_hidden_states=True)
        z = output.hidden_states[-1][0, -1].double().requires_grad_()
        scores = vectors @ (z / z.norm()) / SETTINGS.tau
        scores[hidden] = -torch.inf
        log_p = torch.log_softmax(scores, 0)[sample.target]
        rank = int((scores > scores[sample.target]).sum()) + 1
        ndcg = 1 / math.log2(rank + 1) if rank <= SETTINGS.ndcg_cutoff(len(vectors)) else 0.0
        rewards.append(0.95 * ndcg + 0.05 * math.exp(log_p.item()))
        states.append(z)
        log_ps.append(log_p)
    relative, signal = advantages([rewards], [[reward > 0.05 for reward in rewards]])
    weights = relative[0] if signal[0] == 0 else np.ones(len(rewards))
    pulls, products = [], []
    for weight, log_p, z in zip(weights, log_ps, states, strict=True):
        (pull,) = torch.autograd.grad(-weight * log_p, z, create_graph=True)
        products.append(torch.autograd.grad((pull * pull.detach()).sum(), z)[0])
        pulls.append(pull.detach())
    return rewards, torch.stack(pulls).mean(0), torch.stack(products).mean(0)


def test_rewards_and_vectors_are_those_of_a_straightforward_computation(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    for row, sample in enumerate(samples):
        rewards, pull, product = straightforward(policy, catalogue, items, sample)
        np.testing.assert_allclose(scored.reward[row], rewards, rtol=1e-3)
        np.testing.assert_allclose(scored.gradient[row], pull, rtol=5e-3, atol=5e-3 * float(pull.abs().max()))
        np.testing.assert_allclose(scored.hvp[row], product, rtol=2e-2, atol=2e-2 * float(product.abs().max()))


def test_the_first_rollouts_can_be_read(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    again = score_samples(policy, catalogue, items, samples, rollouts=SETTINGS, texts=2)
    assert_same(again, scored, tolerance=0)
    assert [len(texts) for texts in again.texts] == [2] * len(samples)
    assert all(text.endswith("<answer>") for texts in again.texts for text in texts)
    assert scored.texts == [[] for _ in samples]
    paper = score_samples(policy, catalogue, items, samples[:2], rollouts=SETTINGS, profile="paper", texts=64)
    assert [len(texts) for texts in paper.texts] == [SETTINGS.group_size] * 2, "the greedy rollout is none of them"


def test_shapes_types_and_ranges(policy: Policy, samples: list[Sample], items: Items, scored: ScoredSamples) -> None:
    n, g, d = len(samples), SETTINGS.group_size, policy.hidden_size
    shapes = {field.name: getattr(scored, field.name).shape for field in fields(scored) if field.name != "texts"}
    assert {shapes[name] for name in ("reward", "ndcg", "rank", "target_probability", "advantage")} == {(n, g)}
    assert {shapes[name] for name in ("gradient", "hvp", "teacher", "embedding")} == {(n, d)}
    assert scored.rank.min() >= 1
    assert scored.rank.max() <= len(items)
    assert ((scored.reward >= 0) & (scored.reward <= 1)).all()
    np.testing.assert_allclose(np.linalg.norm(scored.embedding, axis=1), 1, atol=1e-6)
    assert (scored.prompt_tokens > 20).all()


def test_the_same_call_gives_the_same_bits(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    assert_same(scored, score_samples(policy, catalogue, items, samples, rollouts=SETTINGS), tolerance=0)


def test_a_sample_scores_the_same_alone_or_among_others(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    for row, sample in enumerate(samples):
        alone = score_samples(policy, catalogue, items, [sample], rollouts=SETTINGS)
        expected = ScoredSamples(
            **{field.name: getattr(scored, field.name)[[row]] for field in fields(scored) if field.name != "texts"}
        )
        assert_same(alone, expected, tolerance=1e-3)


def test_another_seed_gives_other_rollouts(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    other = score_samples(policy, catalogue, items, samples, rollouts=SETTINGS.model_copy(update={"seed": 7}))
    assert not np.allclose(other.reward, scored.reward)


def test_running_out_of_memory_halves_the_batch(
    policy: Policy,
    catalogue: Any,
    items: Items,
    samples: list[Sample],
    scored: ScoredSamples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def small_memory(policy: Policy, prompts: Any, *arguments: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return roll_out(policy, prompts, *arguments)

    monkeypatch.setattr(scoring, "roll_out", small_memory)
    assert_same(score_samples(policy, catalogue, items, samples, rollouts=SETTINGS), scored, tolerance=1e-3)
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]


def test_a_target_that_was_bought_before_is_still_ranked(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample]
) -> None:
    """Repeat purchases exist: the target is never masked, though the rest of its history is."""
    repeat = replace(samples[0], history=(3, 9), target=9, ratings=None, history_timestamps=None)
    ours = score_samples(policy, catalogue, items, [repeat], rollouts=SETTINGS)
    assert (ours.target_probability > 0).all()
    paper = score_samples(policy, catalogue, items, [repeat], rollouts=SETTINGS, profile="paper")
    assert (paper.target_probability == 0).all()
    assert (paper.rank == len(items)).all()


def test_history_cannot_win(policy: Policy, catalogue: Any, items: Items, samples: list[Sample]) -> None:
    """With everything but the target in the history, the target is first."""
    target = 5
    history = tuple(item for item in range(len(items)) if item != target)
    sample = replace(samples[0], history=history, target=target, ratings=None, history_timestamps=None)
    result = score_samples(policy, catalogue, items, [sample], rollouts=SETTINGS)
    assert (result.rank == 1).all()
    np.testing.assert_allclose(result.target_probability, 1)
    assert result.signal.tolist() == [2]
    assert not result.gradient.any()


def test_a_group_that_never_hits_falls_back_on_the_teacher(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample]
) -> None:
    """Nothing to compare: the advantages are zero, the sample is marked, and its vectors are not."""
    ndcg_at_1 = SETTINGS.model_copy(update={"ndcg_k": 1})
    result = score_samples(policy, catalogue, items, samples, rollouts=ndcg_at_1)
    never = ~(result.ndcg > 0).any(axis=1)
    assert never.any()
    assert (result.signal[never] == 1).all()
    assert not result.advantage[never].any()
    assert result.gradient[never].any(axis=1).all()


def test_teacher_vectors_do_not_heed_what_the_rollouts_earned(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    other = score_samples(
        policy, catalogue, items, samples, rollouts=SETTINGS.model_copy(update={"ndcg_k": 1, "softmax_weight": 0.5})
    )
    np.testing.assert_allclose(other.teacher, scored.teacher, rtol=1e-5)
    silent = other.signal == 1
    assert silent.any()
    np.testing.assert_array_equal(other.teacher[silent], other.gradient[silent])
    assert not np.allclose(scored.teacher, scored.gradient)


def test_paper_profile_keeps_the_rewards_and_takes_vectors_from_a_greedy_rollout(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], scored: ScoredSamples
) -> None:
    paper = score_samples(policy, catalogue, items, samples, rollouts=SETTINGS, profile="paper")
    np.testing.assert_allclose(paper.reward, scored.reward, rtol=1e-3)
    assert paper.generated_tokens.shape == scored.generated_tokens.shape
    vectors = torch.from_numpy(catalogue).double()[[sample.target for sample in samples]]
    for row, sample in enumerate(samples):
        prompt = user_prompt(policy, items, sample, window=SETTINGS.window, room=20)
        rolled = roll_out(policy, [prompt], np.zeros((1, 1, SETTINGS.max_new_tokens)), Sampling(1.0, 1, 1.0))
        z = rolled.z[0, 0].double().clone().requires_grad_()
        p = torch.softmax(vectors @ (z / z.norm()) / SETTINGS.tau, 0)[row]
        (pull,) = torch.autograd.grad(-p / p.detach(), z, create_graph=True)
        (product,) = torch.autograd.grad((pull * pull.detach()).sum(), z)
        np.testing.assert_allclose(paper.hvp[row], product, rtol=2e-2, atol=2e-2 * float(product.abs().max()))
        np.testing.assert_allclose(paper.embedding[row], (z / z.norm()).detach(), atol=1e-4)
    assert (paper.signal == 1).all()


def test_paper_profile_shares_its_softmax_within_eight_samples_in_the_given_order(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample]
) -> None:
    many = [replace(sample, id=f"{sample.id}-{copy}") for copy in range(3) for sample in samples][:9]
    nine = score_samples(policy, catalogue, items, many, rollouts=SETTINGS, profile="paper")
    eight = score_samples(policy, catalogue, items, many[:8], rollouts=SETTINGS, profile="paper")
    np.testing.assert_allclose(nine.gradient[:8], eight.gradient, rtol=1e-2, atol=1e-5)
    assert nine.signal.tolist() == [1] * 8 + [2], "the ninth is alone with its own target: nothing to learn"


def test_a_model_with_broken_weights_is_an_error_that_names_a_sample(
    policy: Policy, catalogue: Any, items: Items, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        rolled = roll_out(*arguments)
        rolled.z[1, 2, 3] = torch.nan
        return rolled

    monkeypatch.setattr(scoring, "roll_out", broken)
    with pytest.raises(ValueError, match="not finite for sample 's"):
        score_samples(policy, catalogue, items, samples, rollouts=SETTINGS)


def test_a_catalogue_of_another_model_is_refused(policy: Policy, items: Items, samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="catalogue is"):
        score_samples(policy, np.zeros((len(items), 7), np.float32), items, samples, rollouts=SETTINGS)


def test_no_samples_score_nothing(policy: Policy, catalogue: Any, items: Items) -> None:
    assert score_samples(policy, catalogue, items, [], rollouts=SETTINGS).reward.shape == (0, SETTINGS.group_size)


@pytest.mark.parametrize(("value", "fault"), [(float("nan"), "not finite"), (0.0, "zero")])
def test_hidden_states_without_a_direction_are_refused_by_sample(value: float, fault: str) -> None:
    z = torch.ones(2, 3, 4)
    z[1, 2] = value
    samples = [Sample(f"s{row}", (0,), 1, None, None, None, None, None) for row in range(2)]
    with pytest.raises(InvalidSampleError, match=f"{fault} for sample 's1'"):
        scoring._require_finite(z, samples)
