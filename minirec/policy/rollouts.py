"""Rollouts: G reasonings per sample, each up to its own `<answer>`, and z read off there (docs/method.md, section 2).

A prompt is read once and its cache shared by its rollouts. z comes out of the step that feeds the last token of
`<answer>`: no token is computed twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.data.prompts import ANSWER
from minirec.policy.batching import Opening, Prefilled, may_pad_inside, pad_left, prefill
from minirec.policy.cache import for_rollouts, select_rows
from minirec.policy.decoding import FEW_ROWS, WIDTH_MULTIPLE, FixedDecoder
from minirec.policy.policy import Policy
from minirec.policy.sampling import Sampling, draw, draw_tokens, sampling_noise

__all__ = ["Rollouts", "Sampling", "Transcripts", "draw", "replay", "roll_out", "sampling_noise"]

log = logging.getLogger(__name__)

TAIL = 2 * len(ANSWER)
"""Tokens that are looked at for `<answer>`: it has no more characters than half of this."""
CHECKED = 4
"""Prompts whose first rollouts are compared with a plain pass, once per policy."""
AGREEMENT = {True: 1e-2, False: 0.1}
"""How far apart the two may be, for float32 and for narrower types: rounding alone is a tenth of that."""


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
    rules = ending or Transcripts
    longest = max(map(len, prompts)) + limit + len(policy.answer_ids) + WIDTH_MULTIPLE
    if _decodes_fixed(policy, longest):
        if policy.fixed_decoding:
            return _roll_out_fixed(policy, prefill(policy, prompts, opening), noise, sampling, rules)
        rolled = _first_fixed(policy, prompts, noise, sampling, opening, rules)
        policy.fixed_decoding = rolled is not None
        if rolled is not None:
            return rolled
    return _roll_out_growing(policy, prefill(policy, prompts, opening), noise, sampling, rules)


def _decodes_fixed(policy: Policy, longest: int) -> bool:
    """Return whether to decode with a cache of fixed size: where a GPU would wait for the host, and the model can."""
    wanted = policy.device.type == "cuda" if policy.fixed_decoding is None else policy.fixed_decoding
    return wanted and may_pad_inside(policy, longest)


def _first_fixed(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    noise: npt.NDArray[np.float64],
    sampling: Sampling,
    opening: Opening | None,
    rules: type[Transcripts],
) -> Rollouts | None:
    """Decode a policy's first batch with a cache of fixed size; None where this model cannot.

    Some models make something of their own out of the mask, which is another one here. So z has to be what a plain pass
    over the same tokens gives.
    """
    name, few = type(policy.model).__name__, slice(0, CHECKED)
    try:
        rolled = _roll_out_fixed(policy, prefill(policy, prompts, opening), noise, sampling, rules)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        log.warning("%s is decoded step by step: it does not take a cache of fixed size", name, exc_info=True)
        return None
    # z belongs to the last token of `<answer>`; answers in text have none, but a last token, too.
    plain, _ = replay(policy, prompts[few], [rollouts[:1] for rollouts in rolled.tokens[few]], opening)
    apart = torch.linalg.vector_norm(rolled.z[few, :1] - plain, dim=2) / torch.linalg.vector_norm(plain, dim=2)
    # Where the states are not finite the caller says so.
    worst = float(apart.nan_to_num(0.0, posinf=0.0).max())
    if worst > AGREEMENT[policy.dtype == torch.float32]:
        log.warning("%s is decoded step by step: with a cache of fixed size z is off by %.0e", name, worst)
        return None
    return rolled


def _roll_out_fixed(
    policy: Policy, start: Prefilled, noise: npt.NDArray[np.float64], sampling: Sampling, rules: type[Transcripts]
) -> Rollouts:
    """Sample on the device, and look at what was said every few tokens; rows leave when half of them are done."""
    count, repeats, limit = noise.shape
    noise = noise.reshape(count * repeats, limit)
    prompt_z = start.last.z.float()
    transcripts = rules(policy, len(noise), limit)
    answer = policy.answer_ids if rules.APPENDS else []
    decoder = FixedDecoder(policy, start, noise, sampling, repeats=repeats, ending=answer)
    z = torch.empty(len(noise), policy.hidden_size, device=policy.device)
    rows, active, processed = np.arange(len(noise)), np.ones(len(noise), dtype=bool), start.processed
    while active.any():
        drawn = decoder.advance()
        processed += drawn.size
        ended = transcripts.take(rows, drawn, active)
        done = np.flatnonzero(ended >= 0)
        if len(done):
            z[torch.from_numpy(rows[done]).to(policy.device)] = decoder.z_at(ended[done], done)
            active[done] = False
        left = np.flatnonzero(active)
        if len(rows) > FEW_ROWS and 0 < len(left) <= len(rows) // 2:
            decoder.keep(left)
            rows, active = rows[left], active[left]
    shape = (count, repeats)
    return Rollouts(
        z.view(*shape, -1), transcripts.by_prompt(repeats), transcripts.sampled().reshape(shape), processed, prompt_z
    )


def _roll_out_growing(
    policy: Policy, start: Prefilled, noise: npt.NDArray[np.float64], sampling: Sampling, rules: type[Transcripts]
) -> Rollouts:
    """Sample token by token with the host; rows leave as soon as they are done."""
    count, repeats, limit = noise.shape
    noise = noise.reshape(count * repeats, limit)
    on_device = torch.from_numpy(noise).to(policy.device)
    room = limit + len(policy.answer_ids)
    cache = for_rollouts(start.cache, rows=count, repeats=repeats, room=room)
    mask = torch.nn.functional.pad(start.attention_mask.repeat_interleave(repeats, 0), (0, room), value=1)
    positions = start.lengths.repeat_interleave(repeats)
    logits = start.last.logits.repeat_interleave(repeats, 0)
    transcripts = rules(policy, len(noise), limit)
    z = torch.empty(len(noise), policy.hidden_size, device=policy.device)
    rows = np.arange(len(noise))
    """Which rollout each row of the cache belongs to."""
    processed, step, width = start.processed, 0, start.attention_mask.shape[1]
    while len(rows):
        if step < limit:
            drawn = draw_tokens(logits, on_device[:, step], sampling).cpu().numpy()
        else:
            drawn = np.zeros(len(rows), dtype=np.int64)
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
            mask, positions, logits, on_device = mask[index], positions[index], logits[index], on_device[index]
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


class Transcripts:
    """The tokens of each rollout so far, and which one comes next."""

    APPENDS: ClassVar[bool] = True
    """Whether `<answer>` is said in place of the turn's end, and after the limit."""

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

    def take(
        self, rows: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], active: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Take drawn tokens (S, N) of N rollouts; return the step (N,) at which each is done, -1 where it is not.

        What was drawn behind a rollout's end is left out, as is all of those that are not active.
        """
        ended = np.full(len(rows), -1)
        odd: npt.NDArray[np.bool_] = np.any(self._policy.may_end[drawn], axis=0)
        for place in np.flatnonzero(active).tolist():
            row, tokens = rows[place], drawn[:, place].tolist()
            written = self.tokens[row]
            if not odd[place] and not self._appended[row] and len(written) + len(tokens) < self._limit:
                written.extend(tokens)
                continue
            for step, token in enumerate(tokens):
                if self._next(row, token)[1]:
                    ended[place] = step
                    break
        return ended

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
