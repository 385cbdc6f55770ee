"""Rollouts: how tokens are drawn, where they stop, and that z is what a plain forward pass would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    Lfm2Config,
    LogitsProcessorList,
    MistralConfig,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from minirec.data.prompts import ANSWER
from minirec.policy.batching import shared_opening
from minirec.policy.policy import Policy
from minirec.policy.rollouts import Rollouts, Sampling, draw, replay, roll_out, sampling_noise

SAMPLING = Sampling(temperature=1.5, top_k=200, top_p=1.0)


@pytest.fixture(scope="session")
def prompts(policy: Policy) -> list[list[int]]:
    """Five prompts of different lengths with a common opening."""
    opening = policy.tokenizer.encode("<|im_start|>user\nQuiet River and then ")
    return [opening + policy.tokenizer.encode("Golden Orchestra " * count + "!") for count in (1, 2, 4, 3, 7)]


def noise_for(prompts: list[list[int]], *, rollouts: int = 3, length: int = 12) -> np.ndarray:
    return np.stack([sampling_noise(f"s{i}", seed=1, rollouts=rollouts, length=length) for i in range(len(prompts))])


def plain_z(policy: Policy, tokens: list[int]) -> torch.Tensor:
    """The hidden state after the final norm at the last token, from one forward pass without a cache."""
    with torch.inference_mode():
        output = policy.model(torch.tensor([tokens]), output_hidden_states=True)
    z: torch.Tensor = output.hidden_states[-1][0, -1].float()
    return z


def assert_z_is_plain(policy: Policy, prompts: list[list[int]], result: Rollouts) -> None:
    for prompt, rollouts, states in zip(prompts, result.tokens, result.z, strict=True):
        for tokens, z in zip(rollouts, states, strict=True):
            torch.testing.assert_close(z, plain_z(policy, prompt + tokens), rtol=1e-3, atol=1e-4)


@contextmanager
def scripted(policy: Policy, next_token: Mapping[int, list[int]], otherwise: list[int]) -> Iterator[None]:
    """Make the model continue every token by one of a few, equally likely."""

    def rewrite(_: Any, __: Any, arguments: dict[str, Any], output: Any) -> Any:
        output.logits = torch.full_like(output.logits, -1e4)
        for row, token in enumerate(arguments["input_ids"][:, -1].tolist()):
            output.logits[row, -1, next_token.get(token, otherwise)] = 0.0
        return output

    hook = policy.model.register_forward_hook(rewrite, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def test_z_is_that_of_a_plain_forward_pass_over_the_same_tokens(policy: Policy, prompts: list[list[int]]) -> None:
    opening = shared_opening(policy, prompts, longest=200)
    assert opening is not None
    assert len(opening.tokens) > 5
    assert_z_is_plain(policy, prompts, roll_out(policy, prompts, noise_for(prompts), SAMPLING, opening))


def test_rollouts_do_not_depend_on_who_shares_the_batch(policy: Policy, prompts: list[list[int]]) -> None:
    noise = noise_for(prompts)
    opening = shared_opening(policy, prompts, longest=200)
    together = roll_out(policy, prompts, noise, SAMPLING, opening)
    for index, prompt in enumerate(prompts):
        alone = roll_out(policy, [prompt], noise[index : index + 1], SAMPLING)
        assert alone.tokens[0] == together.tokens[index]
        torch.testing.assert_close(alone.z[0], together.z[index], rtol=1e-4, atol=1e-5)


def test_the_rollouts_of_a_sample_differ_and_its_seed_repeats_them(policy: Policy, prompts: list[list[int]]) -> None:
    first = roll_out(policy, prompts, noise_for(prompts), SAMPLING)
    second = roll_out(policy, prompts, noise_for(prompts), SAMPLING)
    assert first.tokens == second.tokens
    assert torch.equal(first.z, second.z)
    assert len({tuple(tokens) for tokens in first.tokens[0]}) == 3


def test_noise_depends_on_seed_and_sample_alone() -> None:
    noise = sampling_noise("a", seed=0, rollouts=4, length=8)
    assert np.array_equal(noise, sampling_noise("a", seed=0, rollouts=4, length=8))
    assert not np.array_equal(noise, sampling_noise("b", seed=0, rollouts=4, length=8))
    assert not np.array_equal(noise, sampling_noise("a", seed=1, rollouts=4, length=8))
    assert ((noise >= 0) & (noise < 1)).all()


def test_a_policy_that_never_answers_gets_the_answer_appended(policy: Policy, prompts: list[list[int]]) -> None:
    filler = policy.tokenizer.encode("a")
    with scripted(policy, {}, filler):
        result = roll_out(policy, prompts, noise_for(prompts, length=5), SAMPLING)
    assert all(tokens == filler * 5 + policy.answer_ids for rollouts in result.tokens for tokens in rollouts)
    assert (result.sampled == 5).all()


def test_the_end_of_turn_is_replaced_by_the_answer(policy: Policy, prompts: list[list[int]]) -> None:
    filler, end = policy.tokenizer.encode("a")[0], policy.tokenizer.eos_token_id
    with scripted(policy, {filler: [end]}, [filler]):
        result = roll_out(policy, prompts, noise_for(prompts), SAMPLING)
    assert all(tokens == [filler, *policy.answer_ids] for rollouts in result.tokens for tokens in rollouts)
    assert (result.sampled == 1).all()


def test_a_rollout_stops_at_its_own_answer_however_it_is_cut_into_tokens(
    policy: Policy, prompts: list[list[int]]
) -> None:
    """Some rollouts spell the answer letter by letter, some never say it: each ends at its own place."""
    spelled = [policy.tokenizer.convert_tokens_to_ids(letter) for letter in ANSWER]
    assert spelled != policy.answer_ids
    filler = policy.tokenizer.convert_tokens_to_ids("z")
    follow: dict[int, list[int]] = {before: [after] for before, after in zip(spelled, spelled[1:], strict=False)}
    with scripted(policy, follow | {filler: [filler]}, [spelled[0], filler]):
        result = roll_out(policy, prompts, noise_for(prompts, rollouts=8, length=12), SAMPLING)
    endings = {tuple(tokens) for rollouts in result.tokens for tokens in rollouts}
    assert endings == {tuple(spelled), tuple([filler] * 12 + policy.answer_ids)}
    assert set(result.sampled.ravel().tolist()) == {len(spelled), 12}
    assert_z_is_plain(policy, prompts, result)


def test_no_token_is_computed_for_rollouts_that_are_done(policy: Policy, prompts: list[list[int]]) -> None:
    end, filler = policy.tokenizer.eos_token_id, policy.tokenizer.convert_tokens_to_ids("z")
    with scripted(policy, {}, [filler, end]):
        result = roll_out(policy, prompts, noise_for(prompts), SAMPLING)
    lengths = [len(tokens) for rollouts in result.tokens for tokens in rollouts]
    assert len(set(lengths)) > 1
    assert result.processed == len(prompts) * max(map(len, prompts)) + sum(lengths)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.5, 200, 1.0),
        Sampling(0.7, 0, 1.0),
        Sampling(1.0, 0, 0.8),
        Sampling(1.3, 10, 0.6),
        Sampling(1.0, 1, 1.0),
    ],
)
def test_tokens_are_drawn_with_the_probabilities_of_transformers(sampling: Sampling) -> None:
    logits = 2 * torch.randn(1, 300, generator=torch.Generator().manual_seed(0))
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    warpers.append(TopPLogitsWarper(sampling.top_p))
    expected = torch.softmax(warpers(torch.zeros(1, 1, dtype=torch.long), logits.clone()), dim=1)[0].numpy()
    points = 40_000
    noise = (np.arange(points) + 0.5) / points
    drawn = np.concatenate([draw(logits.expand(1000, -1), part, sampling) for part in noise.reshape(-1, 1000)])
    frequency = np.bincount(drawn, minlength=300) / points
    np.testing.assert_allclose(frequency, expected, atol=2 / points)


def test_zero_noise_is_greedy_generation(policy: Policy, prompts: list[list[int]]) -> None:
    result = roll_out(policy, prompts, np.zeros((len(prompts), 1, 10)), SAMPLING)
    for prompt, (tokens,) in zip(prompts, result.tokens, strict=True):
        ids = torch.tensor([prompt])
        generated = policy.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False, eos_token_id=None
        )
        sampled = tokens[: len(tokens) - len(policy.answer_ids)]
        assert sampled == generated[0, len(prompt) :][: len(sampled)].tolist()


SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
FAMILIES: dict[str, Callable[[int], Any]] = {
    "gemma2 (soft-capped, sliding window)": lambda size: Gemma2Config(
        vocab_size=size, **SMALL, head_dim=8, intermediate_size=64, sliding_window=12, final_logit_softcapping=5.0
    ),
    "mistral (sliding window)": lambda size: MistralConfig(
        vocab_size=size, **SMALL, intermediate_size=64, sliding_window=12
    ),
    "gpt2 (learned positions)": lambda size: GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4),
    "lfm2 (convolutions and attention)": lambda size: Lfm2Config(
        vocab_size=size,
        **SMALL,
        intermediate_size=64,
        layer_types=["conv", "full_attention", "conv", "full_attention"],
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_architectures_give_the_z_of_their_own_forward_pass(
    family: str, policy: Policy, prompts: list[list[int]]
) -> None:
    config = FAMILIES[family](len(policy.tokenizer))
    config.initializer_range = 0.2
    torch.manual_seed(0)
    other = Policy(AutoModelForCausalLM.from_config(config), policy.tokenizer)
    opening = shared_opening(other, prompts, longest=max(map(len, prompts)) + 20)
    result = roll_out(other, prompts, noise_for(prompts), SAMPLING, opening)
    assert_z_is_plain(other, prompts, result)
    replayed, _ = replay(other, prompts, result.tokens, opening)
    torch.testing.assert_close(replayed, result.z, rtol=1e-3, atol=1e-4)


def test_rounding_that_swaps_two_near_tied_tokens_draws_the_same_token() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 50, generator=generator)
    logits[0, 40] = logits[0, 3] = logits.max() + 1
    lower, higher = logits.clone(), logits.clone()
    lower[0, 3] -= 1e-6
    higher[0, 3] += 1e-6
    sampling = Sampling(temperature=1.0, top_k=20, top_p=1.0)
    for noise in np.linspace(0.01, 0.99, 50):
        drawn = draw(lower, np.array([noise]), sampling), draw(higher, np.array([noise]), sampling)
        assert drawn[0] == drawn[1], f"at noise {noise}"
