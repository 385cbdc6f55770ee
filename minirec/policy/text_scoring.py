"""Prompts under a policy: rewards of its answers, their gradients by token, embeddings (docs/method.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Prompt
from minirec.policy.answers import Answers, answer, text_of
from minirec.policy.batching import in_batches
from minirec.policy.cache import for_rollouts
from minirec.policy.engine_server import ServerEngine
from minirec.policy.policy import Policy
from minirec.policy.prompts import text_prompt
from minirec.policy.rollouts import Sampling, sampling_noise
from minirec.policy.scored import Scored
from minirec.policy.scoring import SIGNAL_NONE
from minirec.policy.token_gradients import token_gradient, token_hvp
from minirec.rewards import Scorer
from minirec.selection.advantage import SIGNAL_POLICY, advantages
from minirec.selection.gate import HIT_REWARD

CPU_LOGITS, CUDA_LOGITS = 2**26, 2**29
"""Logits that are held at once."""


@dataclass(frozen=True)
class ScoredPrompts(Scored):
    """What was measured of prompts; g_n is summed over an answer's tokens, and the teacher gives the right answer.

    The embedding is the hidden state at the prompt's last token.
    """

    hit: npt.NDArray[np.uint8]
    """(B, G), whether an answer has a reward."""


@torch.inference_mode()
def score_prompts(
    policy: Policy,
    prompts: Sequence[Prompt],
    scorer: Scorer,
    *,
    rollouts: RolloutSettings,
    texts: int = 0,
    server: ServerEngine | None = None,
    ahead: Sequence[Prompt] = (),
) -> ScoredPrompts:
    """Answer prompts under a policy and measure the answers (docs/method.md, sections 2 and 4).

    Sampling noise depends on (rollouts.seed, prompt.id) alone, so who shares a batch changes results by rounding at
    most. A group whose outcomes do not differ gets the gradient of the prompt's own answer (the first of several), with
    A = 1, and zeros where it has none. Raises as `answer` does.

    Args:
        policy: What answers, and is differentiated.
        prompts: The prompts to score.
        scorer: What an answer earns.
        rollouts: Group size, limits, sampling and seed.
        texts: How many answers of each prompt to return as text.
        server: Samples where `rollouts.engine` is a server; made with `ending=TextTranscripts`.
        ahead: Prompts that are scored next: the server starts with them now.
    """
    size, sampling = policy.hidden_size, Sampling.of(rollouts)
    noise = _noise(prompts, rollouts)
    if server is not None and ahead:
        room = rollouts.max_new_tokens
        coming = [*prompts, *ahead]
        server.begin([text_prompt(policy, one, room=room) for one in coming], _noise(coming, rollouts), sampling)
    answers = answer(policy, prompts, noise, sampling, scorer, server=server)
    hit = answers.reward >= HIT_REWARD
    advantage, signal = advantages(answers.reward, hit)
    gradients, products = (torch.zeros(len(prompts), size, device=policy.device) for _ in range(2))
    for row, prompt in enumerate(prompts):
        own = signal[row] == SIGNAL_POLICY
        learned, weights = _texts_to_learn(policy, prompt, answers, row, advantage[row], own=own)
        if learned:
            sums = gradient_and_hvp_sums(policy, answers.prompts[row], learned, weights)
            gradients[row], products[row] = (vector / len(weights) for vector in sums)
    gradient, hvp = gradients.cpu().numpy(), products.cpu().numpy()
    signal[~gradient.any(axis=1)] = SIGNAL_NONE
    return ScoredPrompts(
        reward=answers.reward,
        hit=hit.astype(np.uint8),
        advantage=advantage,
        signal=signal,
        gradient=gradient,
        hvp=hvp,
        embedding=torch.nn.functional.normalize(answers.prompt_z, dim=1).cpu().numpy(),
        generated_tokens=np.array(
            [[len(tokens) for tokens in completions] for completions in answers.tokens], np.int32
        ),
        prompt_tokens=np.array([len(ids) for ids in answers.prompts], np.int32),
        texts=[[text_of(policy, tokens) for tokens in completions[:texts]] for completions in answers.tokens],
    )


def _noise(prompts: Sequence[Prompt], rollouts: RolloutSettings) -> npt.NDArray[np.float64]:
    group, length = rollouts.group_size, rollouts.max_new_tokens
    return np.stack([sampling_noise(one.id, seed=rollouts.seed, rollouts=group, length=length) for one in prompts])


def _texts_to_learn(
    policy: Policy, prompt: Prompt, answers: Answers, row: int, advantage: npt.NDArray[np.float64], *, own: bool
) -> tuple[list[list[int]], list[float]]:
    """The texts that a sample would train on, as tokens, and their weights."""
    if own:
        return answers.tokens[row], advantage.tolist()
    right = prompt.answer[0] if isinstance(prompt.answer, list) else prompt.answer
    tokens = policy.tokenizer.encode(right, add_special_tokens=False) if right else []
    room = None if policy.max_positions is None else policy.max_positions - len(answers.prompts[row])
    return ([tokens[:room]], [1.0]) if tokens else ([], [])


@torch.inference_mode()
def gradient_and_hvp_sums(
    policy: Policy, prompt: Sequence[int], texts: Sequence[Sequence[int]], weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the sums over R texts behind a prompt of A g and of A^2 H g, each (d,) float32 (section 4).

    The gradient g of a text is the sum over its tokens, in the space of z. Weights A of 0 are left out of the pass.
    """
    weight, cap = policy.head_weight, policy.logit_cap
    gradient = torch.zeros(policy.hidden_size, device=policy.device)
    hvp = torch.zeros_like(gradient)
    weighted = [index for index, value in enumerate(weights) if value != 0]
    longest = max((len(texts[index]) for index in weighted), default=1)
    most = (CUDA_LOGITS if policy.device.type == "cuda" else CPU_LOGITS) // (longest * len(weight))

    def run(batch: Sequence[int]) -> None:
        batch_texts = [texts[index] for index in batch]
        parts = []
        for index, tokens, logits in zip(batch, batch_texts, logits_of(policy, prompt, batch_texts), strict=True):
            targets = torch.tensor(tokens, device=policy.device)
            own = token_gradient(logits, targets, weight, cap=cap).float()
            bent = token_hvp(logits, targets, weight, own, cap=cap).float()
            parts.append((weights[index] * own, weights[index] ** 2 * bent))
        # Added at the end, so that a batch that runs out of memory on the way has added nothing.
        for own, bent in parts:
            gradient.add_(own)
            hvp.add_(bent)

    in_batches(weighted, max(1, most), run)
    return gradient, hvp


def logits_of(policy: Policy, prompt: Sequence[int], texts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return logits (T_n, V) that each of R texts behind a prompt was drawn from, token by token.

    The prompt is read once. Texts are padded behind their end, where no token looks.
    """
    device, start, longest = policy.device, len(prompt), max(map(len, texts))
    cache = policy.new_cache()
    ids = torch.tensor([list(prompt)], device=device)
    first = policy.step(ids, torch.ones_like(ids), torch.arange(start, device=device)[None], cache).logits
    cache = for_rollouts(cache, rows=1, repeats=len(texts), room=longest)
    padded = torch.tensor([[*text, *[policy.pad_id] * (longest - len(text))] for text in texts], device=device)
    mask = torch.ones(len(texts), start + longest, dtype=torch.int64, device=device)
    positions = torch.arange(start, start + longest, device=device).expand(len(texts), -1)
    then = policy.read(padded, mask, positions, cache, keep=longest).logits
    return [torch.cat([first, rows[: len(text) - 1]]) for text, rows in zip(texts, then, strict=True)]
