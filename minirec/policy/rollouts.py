"""Rollouts: G reasonings per sample, each up to its own `<answer>`, and z read off there (docs/method.md, section 2).

A prompt is read once and its cache shared by its rollouts. z comes out of the step that feeds the last token of
`<answer>`: no token is computed twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from api_schemas.selections import RolloutSettings
from minirec.data.prompts import ANSWER
from minirec.policy.batching import Opening, may_pad_inside, pad_left, prefill
from minirec.policy.cache import for_rollouts, select_rows
from minirec.policy.policy import Policy

TAIL = 2 * len(ANSWER)
"""Tokens that are looked at for `<answer>`: it has no more characters than half of this."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: from the `top_k` likeliest (0: all) that make up `top_p` of the probability."""

    temperature: float
    top_k: int
    top_p: float

    @classmethod
    def of(cls, settings: RolloutSettings) -> Sampling:
        """Read how these settings draw a token."""
        return cls(settings.temperature, settings.top_k, settings.top_p)


@dataclass(frozen=True)
class Rollouts:
    """Finished rollouts of a batch of B prompts, R each."""

    z: Tensor
    """(B, R, d) float32, at the last token of `<answer>`."""
    tokens: list[list[list[int]]]
    """Per prompt and rollout everything after the prompt, `<answer>` included."""
    sampled: npt.NDArray[np.int32]
    """(B, R) how many of the tokens the policy chose itself; the rest is an `<answer>` appended for it."""
    processed: int
    """Tokens that went through the model, padding included."""
    prompt_z: Tensor | None = None
    """(B, d) float32 at the last token of each prompt, where the sampler sees it."""


def sampling_noise(sample_id: str, *, seed: int, rollouts: int, length: int) -> npt.NDArray[np.float64]:
    """Return uniform numbers (rollouts, length) in [0, 1) that depend on the seed and the sample alone."""
    digest = hashlib.sha256(f"{seed}\0{sample_id}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16])))
    return generator.random((rollouts, length))


@torch.inference_mode()
def roll_out(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    noise: npt.NDArray[np.float64],
    sampling: Sampling,
    opening: Opening | None = None,
    *,
    ending: type[Transcripts] | None = None,
) -> Rollouts:
    """Sample rollouts of B prompts (docs/method.md, section 2).

    A rollout ends where its text says `<answer>`; one that ends its turn or reaches T tokens without has it appended.

    Args:
        policy: What samples.
        prompts: Tokens of each prompt.
        noise: (B, R, T) for R rollouts of at most T tokens each. Noise 0 takes the likeliest token: a row of zeros is a
            greedy rollout.
        sampling: How a token is drawn.
        opening: What all prompts begin with, where it was computed before.
        ending: Other rules for where a rollout ends.
    """
    count, repeats, limit = noise.shape
    noise = noise.reshape(count * repeats, limit)
    start = prefill(policy, prompts, opening)
    room = limit + len(policy.answer_ids)
    cache = for_rollouts(start.cache, rows=count, repeats=repeats, room=room)
    mask = torch.nn.functional.pad(start.attention_mask.repeat_interleave(repeats, 0), (0, room), value=1)
    positions = start.lengths.repeat_interleave(repeats)
    logits = start.last.logits.repeat_interleave(repeats, 0)
    transcripts = (ending or Transcripts)(policy, len(noise), limit)
    z = torch.empty(len(noise), policy.hidden_size, device=policy.device)
    rows = np.arange(len(noise))
    """Which rollout each row of the cache belongs to."""
    processed, step, width = start.processed, 0, start.attention_mask.shape[1]
    while len(rows):
        drawn = draw(logits, noise[rows, step], sampling) if step < limit else np.zeros(len(rows), dtype=np.int64)
        fed, finished = transcripts.extend(rows, drawn)
        ids = torch.from_numpy(fed).to(policy.device)[:, None]
        last = policy.step(ids, mask[:, : width + step + 1], (positions + step)[:, None], cache)
        logits, processed, step = last.logits, processed + len(rows), step + 1
        if finished.any():
            ready = torch.from_numpy(finished).to(policy.device)
            z[torch.from_numpy(rows[finished]).to(policy.device)] = last.z[ready].float()
            source = _fill_gaps(finished)
            rows, index = rows[source], torch.from_numpy(source).to(policy.device)
            select_rows(cache, index)
            mask, positions, logits = mask[index], positions[index], logits[index]
    shape = (count, repeats)
    return Rollouts(
        z.view(*shape, -1),
        transcripts.by_prompt(repeats),
        transcripts.sampled().reshape(shape),
        processed,
        start.last.z.float(),
    )


@torch.inference_mode()
def replay(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    tokens: Sequence[Sequence[Sequence[int]]],
    opening: Opening | None = None,
) -> tuple[Tensor, int]:
    """Return z (B, R, d) float32 at the last token of R given rollouts of each prompt, and how many tokens it took.

    The prompt is read once and its cache shared, all tokens of its rollouts go through the model in one more step.
    Models in which padding must not lie between the two read every rollout with its prompt instead.
    """
    repeats = len(tokens[0])
    completions = [list(rollout) for rollouts in tokens for rollout in rollouts]
    ids, mask = (part.to(policy.device) for part in pad_left(completions, policy.pad_id))
    if may_pad_inside(policy, max(map(len, prompts)) + ids.shape[1]):
        start = prefill(policy, prompts, opening)
        cache = for_rollouts(start.cache, rows=len(prompts), repeats=repeats, room=ids.shape[1])
        read = start.attention_mask.repeat_interleave(repeats, 0)
        positions = start.lengths.repeat_interleave(repeats)[:, None] + mask.cumsum(1) - 1
        last, processed = policy.step(ids, torch.cat([read, mask], 1), positions, cache), start.processed + ids.numel()
    else:
        before = [prompt for prompt in prompts for _ in range(repeats)]
        whole = prefill(
            policy, [[*prompt, *rollout] for prompt, rollout in zip(before, completions, strict=True)], None
        )
        last, processed = whole.last, whole.processed
    return last.z.float().view(len(prompts), repeats, -1), processed


def draw(logits: Tensor, noise: npt.NDArray[np.float64], sampling: Sampling) -> npt.NDArray[np.int64]:
    """Draw a token per row of logits (R, V) by inverting the cumulative distribution at noise (R,); at 0 the likeliest.

    Temperature, then top-k, then top-p, as in transformers. The distribution is laid out by token id: laid out by
    probability, rounding could swap two near-tied tokens, and the same noise would then draw the other one.
    """
    top_k = min(sampling.top_k or logits.shape[1], logits.shape[1])
    values, tokens = torch.topk(logits.float(), top_k)
    probability = torch.softmax(values.double() / sampling.temperature, dim=1)
    before = probability.cumsum(1) - probability
    probability = torch.where(before < sampling.top_p, probability, 0.0)
    by_id, order = tokens.sort(1)
    probability = probability.gather(1, order)
    cumulative = probability.cumsum(1)
    threshold = torch.from_numpy(noise).to(logits.device)[:, None] * cumulative[:, -1:]
    # A threshold that rounding has lifted to the whole would lie behind the last token that may be drawn.
    last = top_k - 1 - (probability > 0).flip(1).int().argmax(1, keepdim=True)
    choice = torch.minimum(torch.searchsorted(cumulative, threshold, right=True), last)
    drawn = torch.where(threshold > 0, by_id.gather(1, choice), tokens[:, :1])
    chosen: npt.NDArray[np.int64] = drawn[:, 0].cpu().numpy()
    return chosen


class Transcripts:
    """The tokens of each rollout so far, and which one comes next."""

    def __init__(self, policy: Policy, rollouts: int, limit: int) -> None:
        self._policy = policy
        self._limit = limit
        self._appended = np.zeros(rollouts, dtype=np.int32)
        self.tokens: list[list[int]] = [[] for _ in range(rollouts)]

    def extend(
        self, rows: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the token to feed for each rollout in `rows`, and whether it completes `<answer>`."""
        pairs = [self._next(row, token) for row, token in zip(rows.tolist(), drawn.tolist(), strict=True)]
        tokens, finished = zip(*pairs, strict=True)
        return np.array(tokens), np.array(finished)

    def follow(self, drawn: Sequence[Sequence[int]]) -> None:
        """Take the tokens that were drawn elsewhere for each rollout, by the rules of `extend`; their end ends it."""
        for row, tokens in enumerate(drawn):
            for token in chain(tokens, repeat(None)):
                if self._next(row, token)[1]:
                    break

    def by_prompt(self, repeats: int) -> list[list[list[int]]]:
        """Return the tokens of each rollout, grouped by the prompt that `repeats` rollouts in a row share."""
        return [self.tokens[first : first + repeats] for first in range(0, len(self.tokens), repeats)]

    def sampled(self) -> npt.NDArray[np.int32]:
        """Return how many tokens of each rollout were drawn: (rollouts,)."""
        return np.array([len(tokens) for tokens in self.tokens], dtype=np.int32) - self._appended

    def _next(self, row: int, token: int | None) -> tuple[int, bool]:
        written, answer = self.tokens[row], self._policy.answer_ids
        over = self._appended[row] or len(written) == self._limit
        if over or token is None or token in self._policy.end_ids:
            written.append(answer[self._appended[row]])
            self._appended[row] += 1
            return written[-1], bool(self._appended[row] == len(answer))
        written.append(token)
        return token, token in self._policy.closing_ids and self._policy.says_answer(written[-TAIL:])


def _fill_gaps(finished: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the sources of the remaining rows, when the last ones move into the places of finished ones."""
    source = np.arange(int((~finished).sum()))
    moving = np.flatnonzero(~finished)
    source[finished[: len(source)]] = moving[moving >= len(source)]
    return source
