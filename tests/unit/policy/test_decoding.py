"""Decoding with a cache of fixed size: the rollouts of the loop that grows its cache, without waiting for the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, Qwen2Config

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.policy import decoding, rollouts, scoring
from minirec.policy.answers import TextTranscripts
from minirec.policy.batching import prefill
from minirec.policy.catalogue import embed_items
from minirec.policy.decoding import FixedDecoder
from minirec.policy.policy import Policy
from minirec.policy.rollouts import Sampling, Transcripts, roll_out, sampling_noise
from minirec.policy.scoring import score_samples

SAMPLING = Sampling(temperature=1.5, top_k=200, top_p=0.95)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none")


def prompts_of(policy: Policy) -> list[list[int]]:
    opening = policy.tokenizer.encode("<|im_start|>user\nQuiet River and then ")
    return [opening + policy.tokenizer.encode("Golden Orchestra " * count + "!") for count in (1, 2, 4, 3, 7)]


def noise_of(prompts: list[list[int]], *, repeats: int, length: int) -> np.ndarray:
    return np.stack([sampling_noise(f"s{i}", seed=1, rollouts=repeats, length=length) for i in range(len(prompts))])


def policy_of(policy: Policy, config: Any, device: str = "cpu") -> Policy:
    config.initializer_range = 0.2
    torch.manual_seed(0)
    return Policy(AutoModelForCausalLM.from_config(config).to(device), policy.tokenizer)


def qwen2(policy: Policy, device: str = "cpu") -> Policy:
    """Grouped heads, as most models have today."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return policy_of(policy, Qwen2Config(vocab_size=len(policy.tokenizer), **sizes, **heads), device)


def ends_often(policy: Policy) -> Callable[[Any, Any, Any], Any]:
    """A hook for models: rollouts end early, one after the other."""

    def hook(_: Any, __: Any, output: Any) -> Any:
        output.logits[..., policy.tokenizer.eos_token_id] += 4.0
        return output

    return hook


@pytest.fixture
def fixed(policy: Policy) -> Iterator[Policy]:
    """The tests' policy, decoding on a CPU as it would on a GPU."""
    policy.fixed_decoding = True
    yield policy
    policy.fixed_decoding = None


@pytest.mark.parametrize("rules", [Transcripts, TextTranscripts])
@pytest.mark.parametrize("length", [5, 8, 40])
def test_the_rollouts_are_those_of_the_growing_cache(fixed: Policy, rules: type[Transcripts], length: int) -> None:
    """With so many rows that they are thinned out on the way; 40 tokens are five looks of the host."""
    prompts = prompts_of(fixed)
    noise = noise_of(prompts, repeats=30, length=length)
    ours = roll_out(fixed, prompts, noise, SAMPLING, ending=rules)
    fixed.fixed_decoding = False
    theirs = roll_out(fixed, prompts, noise, SAMPLING, ending=rules)
    assert ours.tokens == theirs.tokens
    assert np.array_equal(ours.sampled, theirs.sampled)
    assert len({len(tokens) for of_prompt in ours.tokens for tokens in of_prompt}) > 1
    torch.testing.assert_close(ours.z, theirs.z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.prompt_z, theirs.prompt_z)


def test_rows_that_are_done_make_room(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    class Watched(FixedDecoder):
        def keep(self, rows: Any) -> None:
            kept.append(len(rows))
            super().keep(rows)

    monkeypatch.setattr(rollouts, "FixedDecoder", Watched)
    other, prompts = qwen2(policy), prompts_of(policy)
    other.model.register_forward_hook(ends_often(policy))
    noise = noise_of(prompts, repeats=60, length=60)
    other.fixed_decoding = True
    ours = roll_out(other, prompts, noise, SAMPLING)
    other.fixed_decoding = False
    theirs = roll_out(other, prompts, noise, SAMPLING)
    assert len(kept) > 1
    assert kept == sorted(kept, reverse=True)
    assert kept[0] <= 150
    assert ours.tokens == theirs.tokens
    torch.testing.assert_close(ours.z, theirs.z, rtol=1e-4, atol=1e-5)


def always_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "_decodes_fixed", lambda policy, longest: policy.fixed_decoding is not False)


@pytest.mark.parametrize("family", ["alibi", "a mask of its own"])
def test_a_model_that_cannot_is_decoded_as_before(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, family: str
) -> None:
    """Bloom makes positions out of a mask of two dimensions; the other one gives other states, without an error."""
    if family == "alibi":
        other = policy_of(policy, BloomConfig(vocab_size=len(policy.tokenizer), hidden_size=32, n_layer=2, n_head=4))
    else:
        other = qwen2(policy)

        def forgets(_: Any, arguments: Sequence[Any], given: Mapping[str, Any]) -> tuple[Any, Any]:
            shift = given["attention_mask"].ndim == 4
            return arguments, {**given, "position_ids": given["position_ids"] + 9 * shift}

        other.model.register_forward_pre_hook(forgets, with_kwargs=True)
    prompts = prompts_of(policy)
    noise = noise_of(prompts, repeats=3, length=10)
    expected = roll_out(other, prompts, noise, SAMPLING)
    always_fixed(monkeypatch)
    actual = roll_out(other, prompts, noise, SAMPLING)
    assert other.fixed_decoding is False
    assert "decoded step by step" in caplog.text
    assert actual.tokens == expected.tokens
    assert torch.equal(actual.z, expected.z)


def test_a_model_that_can_is_checked_once(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    other, prompts = qwen2(policy), prompts_of(policy)
    noise = noise_of(prompts, repeats=3, length=10)
    always_fixed(monkeypatch)
    first = roll_out(other, prompts, noise, SAMPLING)
    assert other.fixed_decoding is True
    monkeypatch.delattr(rollouts, "replay")
    assert roll_out(other, prompts, noise, SAMPLING).tokens == first.tokens


def test_states_that_are_not_finite_are_left_to_the_caller(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    other, prompts = qwen2(policy), prompts_of(policy)
    with torch.no_grad():
        other.model.model.norm.weight.fill_(torch.nan)
    always_fixed(monkeypatch)
    assert not roll_out(other, prompts, noise_of(prompts, repeats=2, length=4), SAMPLING).z.isfinite().any()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_replays_a_graph_and_gives_the_same_rollouts(policy: Policy, dtype: torch.dtype) -> None:
    other, prompts = qwen2(policy, "cuda"), prompts_of(policy)
    other = Policy(other.model.to(dtype), policy.tokenizer)
    other.model.register_forward_hook(ends_often(policy))
    noise = noise_of(prompts, repeats=40, length=40)
    ours = roll_out(other, prompts, noise, SAMPLING)
    assert other.fixed_decoding is True
    replayed, _ = rollouts.replay(other, prompts, ours.tokens)
    apart = (ours.z - replayed).norm(dim=2) / replayed.norm(dim=2)
    assert apart.max() < rollouts.AGREEMENT[dtype == torch.float32] / 2
    if dtype == torch.float32:
        other.fixed_decoding = False
        theirs = roll_out(other, prompts, noise, SAMPLING)
        same = [
            mine == other
            for a, b in zip(ours.tokens, theirs.tokens, strict=True)
            for mine, other in zip(a, b, strict=True)
        ]
        assert np.mean(same) > 0.98, "but for ties within rounding"


@pytest.mark.gpu
@needs_gpu
def test_the_host_waits_once_for_many_tokens(policy: Policy) -> None:
    other, prompts = qwen2(policy, "cuda"), prompts_of(policy)
    noise = noise_of(prompts, repeats=4, length=64).reshape(20, 64)
    with torch.inference_mode():
        decoder = FixedDecoder(
            other, prefill(other, prompts, None), noise, SAMPLING, repeats=4, ending=other.answer_ids
        )
        decoder.advance()
        assert decoder._graph is not None, "a step is a graph"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "a prototype feature"
            torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(decoding.CHECK_EVERY):
                decoder._graph.replay()
            decoder._advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_gpu
def test_too_little_memory_means_smaller_batches(
    policy: Policy, items: list[dict[str, Any]], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is really taken away, and the estimate of it with it."""
    other = qwen2(policy, "cuda")
    catalogue, settings = embed_items(other, items), RolloutSettings(group_size=8, max_new_tokens=64)
    many = [replace(sample, id=f"{sample.id}-{copy}") for copy in range(32) for sample in samples]
    expected = score_samples(other, catalogue, items, many, rollouts=settings)
    sizes: list[int] = []

    def counting(*arguments: Any) -> Any:
        sizes.append(len(arguments[1]))
        return roll_out(*arguments)

    monkeypatch.setattr(scoring, "roll_out", counting)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    used = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((used + 100 * 2**20) / total)
    try:
        actual = score_samples(other, catalogue, items, many, rollouts=settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[1] <= sizes[0] // 2
    assert sum(sizes) > len(many), "a part was tried again"
    close = np.isclose(actual.reward, expected.reward, rtol=1e-3, atol=1e-4)
    assert close.mean() > 0.98, "but for ties within rounding"
