"""Prompts under a real (tiny) policy: what answers earn, and the pull that closed forms find against autograd's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minirec.api_schemas import RolloutSettings, TextReward
from minirec.data.dataset import Prompt
from minirec.policy.answers import answer, text_of
from minirec.policy.policy import Policy
from minirec.policy.prompts import text_prompt
from minirec.policy.rollouts import Sampling
from minirec.policy.scoring import SIGNAL_NONE
from minirec.policy.text_scoring import gradient_and_hvp_sums, logits_of, score_prompts
from minirec.rewards import Scorer
from minirec.selection.advantage import SIGNAL_POLICY, SIGNAL_TEACHER

ROLLOUTS = RolloutSettings(group_size=3, max_new_tokens=12)


def make_prompt(name: str, text: str, right: str | list[str] | None = None) -> Prompt:
    fields: dict[str, Any] = {"id": name, "prompt": text} | ({} if right is None else {"answer": right})
    return Prompt(name, ({"role": "user", "content": text},), right, None, None, fields)


class Length(Scorer):
    """Pays for length, so that answers differ; 0 for those of an odd one."""

    def __init__(self) -> None:
        super().__init__([TextReward(name="token_f1")])

    def __call__(self, completion: str, row: Any) -> float:
        return 0.0 if len(completion) % 2 else len(completion) / 100


PROMPTS = [
    make_prompt("p1", "Name a quiet river."),
    make_prompt("p2", "Which signal is golden, and which one is the last of them all?"),
    make_prompt("p3", "Winter?"),
]


def autograd(policy: Policy, prompt: list[int], said: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of -log p of a text by a shift of all its z, and its second derivative applied to that gradient."""
    ids = torch.tensor([prompt + said])
    z = policy.model.model(input_ids=ids).last_hidden_state[0, len(prompt) - 1 : -1].double().detach()
    shift = torch.zeros(z.shape[1], dtype=torch.float64, requires_grad=True)
    logits = (z + shift) @ policy.head_weight.double().detach().T
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(said), reduction="sum")
    (first,) = torch.autograd.grad(loss, shift, create_graph=True)
    (second,) = torch.autograd.grad(first @ first.detach(), shift)
    return first.detach(), second


def test_the_pull_of_answers_is_that_of_autograd(policy: Policy) -> None:
    prompt = text_prompt(policy, PROMPTS[1], room=12)
    said, weights = [[5, 9, 60], [7], [30, 31, 32, 33, 34]], [1.2, 0.0, -0.7]
    gradient, hvp = gradient_and_hvp_sums(policy, prompt, said, weights)
    expected = torch.zeros(2, policy.hidden_size, dtype=torch.float64)
    for tokens, weight in zip(said, weights, strict=True):
        first, second = autograd(policy, prompt, tokens)
        expected += torch.stack([weight * first, weight**2 * second])
    assert torch.stack([gradient, hvp]).double() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_texts_of_any_length_are_read_as_if_alone(policy: Policy) -> None:
    prompt = text_prompt(policy, PROMPTS[0], room=12)
    said = [[5], [9, 60, 61, 62], [30, 31]]
    for tokens, logits in zip(said, logits_of(policy, prompt, said), strict=True):
        alone = policy.model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        assert logits == pytest.approx(alone.detach(), abs=1e-4)


def test_scores_do_not_depend_on_who_shares_the_batch(policy: Policy) -> None:
    together = score_prompts(policy, PROMPTS, Length(), rollouts=ROLLOUTS, texts=1)
    for row, prompt in enumerate(PROMPTS):
        alone = score_prompts(policy, [prompt], Length(), rollouts=ROLLOUTS)
        assert (alone.reward[0] == together.reward[row]).all()
        assert (alone.generated_tokens[0] == together.generated_tokens[row]).all()
        assert alone.texts == [[]]
        # What the first answer earned says how long its text is.
        paid = together.reward[row, 0]
        assert len(together.texts[row]) == 1
        assert Length()(together.texts[row][0], {}) == paid
        for name in ("gradient", "hvp", "embedding"):
            ours = getattr(together, name)[row]
            assert getattr(alone, name)[0] == pytest.approx(ours, rel=1e-3, abs=1e-3 * float(np.abs(ours).max())), name


def test_vectors_come_from_the_answers_own_advantages(policy: Policy) -> None:
    scored = score_prompts(policy, PROMPTS, Length(), rollouts=ROLLOUTS)
    noisy = scored.signal == SIGNAL_POLICY
    assert noisy.any(), "no group of answers differs: this proves nothing"
    assert (scored.hit == (scored.reward > 0)).all()
    assert scored.advantage[noisy].mean(axis=1) == pytest.approx(np.zeros(noisy.sum()), abs=1e-9)
    assert np.linalg.norm(scored.embedding, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert scored.prompt_tokens.tolist() == [len(text_prompt(policy, prompt, room=12)) for prompt in PROMPTS]


def test_without_a_signal_the_right_answer_teaches(policy: Policy) -> None:
    """None of these is ever guessed; the gradient of the right answer stands in, and of none where there is none."""
    never = Scorer([TextReward(name="exact_title")])
    prompts = [make_prompt("a", "Say it.", "Golden Harbour"), make_prompt("b", "Say it.", ["Last Garden", "x"])]
    scored = score_prompts(policy, prompts, never, rollouts=ROLLOUTS)
    assert scored.signal.tolist() == [SIGNAL_TEACHER, SIGNAL_TEACHER]
    tokens = policy.tokenizer.encode("Golden Harbour", add_special_tokens=False)
    first, _ = autograd(policy, text_prompt(policy, prompts[0], room=12), tokens)
    assert scored.gradient[0] == pytest.approx(first.numpy(), rel=1e-3, abs=1e-3)
    silent = score_prompts(policy, [make_prompt("c", "Say it.")], Silence(), rollouts=ROLLOUTS)
    assert silent.signal.tolist() == [SIGNAL_NONE]
    assert not silent.gradient.any()


class Silence(Length):
    def __call__(self, completion: str, row: Any) -> float:
        return 0.0


def test_an_answer_ends_with_its_turn_or_at_the_limit(policy: Policy) -> None:
    noise = np.random.default_rng(3).random((3, 8, 40))
    answers = answer(policy, PROMPTS, noise, Sampling(1.5, 0, 1.0), Length())
    said = [tokens for group in answers.tokens for tokens in group]
    assert {tokens[-1] in policy.end_ids for tokens in said} == {True, False}, "both ends must occur"
    for tokens in said:
        assert not policy.end_ids.intersection(tokens[:-1])
        assert tokens[-1] in policy.end_ids or len(tokens) == 40
        assert "<|im_end|>" not in text_of(policy, tokens)


def test_a_prompt_that_does_not_fit_is_named(policy: Policy) -> None:
    long = make_prompt("far-too-long", "river " * 3000)
    with pytest.raises(ValueError, match="'far-too-long' has .* tokens; with 12 more"):
        score_prompts(policy, [long], Length(), rollouts=ROLLOUTS)
