"""Answers in text: rollouts that end with the assistant's turn, and what they earn (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.data.dataset import Prompt
from minirec.policy.batching import in_batches, prefill, shared_opening
from minirec.policy.engine_server import ServerEngine
from minirec.policy.errors import InvalidSampleError
from minirec.policy.policy import Policy
from minirec.policy.prompts import text_prompt
from minirec.policy.rollouts import Sampling, Transcripts, roll_out
from minirec.rewards import Scorer


class TextTranscripts(Transcripts):
    """Rollouts that end with their turn, the token that ends it included, or at the limit."""

    APPENDS = False

    def _next(self, row: int, token: int | None) -> tuple[int, bool]:
        written = self.tokens[row]
        assert token is not None  # Every token is drawn here.
        written.append(token)
        return token, token in self._policy.end_ids or len(written) == self._limit


@dataclass(frozen=True)
class Answers:
    """R answers to each of B prompts."""

    prompts: list[list[int]]
    """Tokens."""
    tokens: list[list[list[int]]]
    """Per prompt and answer what the policy drew, the token that ended its turn included."""
    reward: npt.NDArray[np.float64]
    """(B, R)."""
    prompt_z: Tensor
    """(B, d) float32, hidden state at the last token of each prompt."""


@torch.inference_mode()
def answer(
    policy: Policy,
    prompts: Sequence[Prompt],
    noise: npt.NDArray[np.float64],
    sampling: Sampling,
    scorer: Scorer,
    *,
    server: ServerEngine | None = None,
) -> Answers:
    """Answer B prompts, as many at once as memory takes.

    Args:
        policy: What answers.
        prompts: The chats.
        noise: (B, R, T) for R answers of at most T tokens; 0 is a greedy answer.
        sampling: How a token is drawn.
        scorer: What an answer earns.
        server: Samples in place of the policy; its rollouts end as `TextTranscripts` do.

    Raises:
        InvalidSampleError: A prompt does not fit into the model's context, or leads to hidden states that are not
            finite; it names the sample.
        RewardError: A reward failed; it names the sample.
        ModelRefused: As for `ServerEngine.begin`.
        EngineUnreachable: As for `ServerEngine.begin`.
    """
    count, repeats, limit = noise.shape
    ids = [text_prompt(policy, prompt, room=limit) for prompt in prompts]
    longest = max(map(len, ids)) + limit
    opening = shared_opening(policy, ids, longest=longest)
    answers = Answers(
        ids,
        [[] for _ in prompts],
        np.zeros((count, repeats)),
        torch.empty(count, policy.hidden_size, device=policy.device),
    )

    def run(batch: Sequence[int]) -> None:
        rows = list(batch)
        given = [ids[row] for row in rows]
        if server is None:
            rolled = roll_out(policy, given, noise[rows], sampling, opening, ending=TextTranscripts)
            assert rolled.prompt_z is not None  # Only other samplers do not see it.
            prompt_z, answered = rolled.prompt_z, rolled.tokens
        else:
            answered = server.sample(given, noise[rows], sampling).by_prompt(repeats)
            prompt_z = prefill(policy, given, opening).last.z.float()
        answers.prompt_z[rows] = prompt_z
        for row, completions in zip(rows, answered, strict=True):
            answers.tokens[row] = completions
            answers.reward[row] = [scorer(text_of(policy, tokens), prompts[row].row) for tokens in completions]

    by_length = sorted(range(count), key=lambda row: len(ids[row]))
    in_batches(by_length, max(1, policy.rows_that_fit(longest, repeats=repeats) // repeats), run)
    broken = [prompt.id for prompt, z in zip(prompts, answers.prompt_z, strict=True) if not z.isfinite().all()]
    if broken:
        raise InvalidSampleError(
            f"the policy's hidden states are not finite for sample {broken[0]!r}: try dtype float32 or bfloat16, lower "
            "learning_rate, or check the adapter"
        )
    return answers


def text_of(policy: Policy, tokens: Sequence[int]) -> str:
    """Return what rewards get to read: a completion's text without the tokens that only mark turns."""
    return policy.chat.text(tokens)
