"""One rollout pass: rewards, gradients, Hessian-vector products and embeddings (docs/method.md, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.policy.batching import in_batches, shared_opening
from minirec.policy.engine_server import ServerEngine
from minirec.policy.errors import InvalidSampleError
from minirec.policy.gradients import gradient_and_hvp
from minirec.policy.head import Head, Masked, Softmax, softmax_over_items
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompts
from minirec.policy.rewards import outcomes
from minirec.policy.rollouts import Rollouts, Sampling, roll_out, sampling_noise
from minirec.policy.scored import Scored
from minirec.policy.vllm_engine import roll_out_vllm
from minirec.selection.advantage import SIGNAL_POLICY, SIGNAL_TEACHER, advantages

PAPER_BATCH = 8
"""Samples that share a softmax in the published gradient."""
SIGNAL_NONE = 2
OUTCOMES = ("reward", "ndcg", "rank", "target_probability")


@dataclass(frozen=True)
class ScoredSamples(Scored):
    """What was measured of samples of interactions; the embedding is the mean of the rollouts' z / |z|."""

    ndcg: npt.NDArray[np.float64]
    """(B, G); above 0 is a hit."""
    rank: npt.NDArray[np.int32]
    """(B, G), 1-based."""
    target_probability: npt.NDArray[np.float64]
    """(B, G)."""
    teacher: npt.NDArray[np.float32]
    """(B, d), mean over the rollouts of g_n: the gradient with A = 1, whatever their rewards."""

    @classmethod
    def empty(cls, samples: int, rollouts: int, size: int) -> ScoredSamples:
        """Zeros of the right shapes, to be filled batch by batch."""
        per_rollout, per_sample = (samples, rollouts), (samples, size)
        return cls(
            reward=np.zeros(per_rollout),
            ndcg=np.zeros(per_rollout),
            rank=np.zeros(per_rollout, np.int32),
            target_probability=np.zeros(per_rollout),
            advantage=np.zeros(per_rollout),
            signal=np.zeros(samples, np.int8),
            gradient=np.zeros(per_sample, np.float32),
            hvp=np.zeros(per_sample, np.float32),
            teacher=np.zeros(per_sample, np.float32),
            embedding=np.zeros(per_sample, np.float32),
            generated_tokens=np.zeros(per_rollout, np.int32),
            prompt_tokens=np.zeros(samples, np.int32),
            texts=[[] for _ in range(samples)],
        )


@torch.inference_mode()
def score_samples(
    policy: Policy,
    catalogue: npt.NDArray[np.float32] | Tensor,
    items: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
    *,
    rollouts: RolloutSettings,
    profile: Literal["minirec", "paper"] = "minirec",
    texts: int = 0,
    server: ServerEngine | None = None,
    ahead: Sequence[Sample] = (),
) -> ScoredSamples:
    """Roll out samples under a policy and measure them, in one pass (docs/method.md, sections 2, 4, 5 and 8).

    Sampling noise depends on (rollouts.seed, sample.id) alone, so who shares a batch changes results by rounding at
    most.

    Args:
        policy: The model to roll out and to differentiate.
        catalogue: (M, d) unit vectors of `items` under this policy.
        items: The M items of the catalogue.
        samples: The samples to score.
        rollouts: Group size, limits, sampling and seed.
        profile: `paper` adds a greedy rollout per sample and takes gradient, Hessian-vector product and embedding from
            it: A = 1, ratio loss, softmax over the targets of its batch of 8 in the order given.
        texts: How many rollouts' texts of each sample to return.
        server: Samples where `rollouts.engine` is a server.
        ahead: Samples that are scored next: the server starts with them now.

    Raises:
        ValueError: `rollouts.engine` is a server, and there is none. A history does not fit into the model's context,
            or the model's hidden states are not finite.
    """
    vectors = torch.as_tensor(catalogue, device=policy.device)
    if vectors.shape != (len(items), policy.hidden_size):
        raise ValueError(f"catalogue is {tuple(vectors.shape)}, expected {(len(items), policy.hidden_size)}")
    group, paper = rollouts.group_size, profile == "paper"
    scored = ScoredSamples.empty(len(samples), group, policy.hidden_size)
    if not samples:
        return scored
    room = rollouts.max_new_tokens + len(policy.answer_ids)
    prompts = user_prompts(policy, items, samples, window=rollouts.window, room=room)
    scored.prompt_tokens[:] = [len(prompt) for prompt in prompts]
    longest = max(map(len, prompts)) + room
    opening = shared_opening(policy, prompts, longest=longest)
    sampling = Sampling.of(rollouts)
    engine = _engine(rollouts, server)
    if server is not None:
        coming = [*samples, *ahead]
        asked = prompts + user_prompts(policy, items, ahead, window=rollouts.window, room=room)
        server.begin(asked, np.stack([_noise(one, rollouts, greedy_too=paper) for one in coming]), sampling)
    greedy = torch.zeros(len(samples), policy.hidden_size, device=policy.device)

    def run(batch: Sequence[int]) -> None:
        rows, chosen = list(batch), [samples[index] for index in batch]
        noise = np.stack([_noise(sample, rollouts, greedy_too=paper) for sample in chosen])
        rolled = engine(policy, [prompts[index] for index in rows], noise, sampling, opening)
        _require_finite(rolled.z, chosen)
        scored.generated_tokens[rows] = rolled.sampled[:, :group]
        for row, tokens in zip(rows, rolled.tokens, strict=True):
            scored.texts[row] = [policy.chat.text(rollout) for rollout in tokens[: min(texts, group)]]
        ranked = _rank(rolled.z[:, :group], vectors, chosen, rollouts, mask_targets=paper)
        _keep_outcomes(scored, rows, ranked, rollouts)
        if paper:
            greedy[rows] = rolled.z[:, group]
        else:
            _keep_vectors(scored, rows, ranked)

    by_length = sorted(range(len(samples)), key=lambda index: len(prompts[index]))
    in_batches(by_length, max(1, policy.rows_that_fit(longest, repeats=group + paper) // (group + paper)), run)
    if paper:
        _keep_greedy_vectors(scored, greedy, vectors, samples, rollouts.tau)
    return scored


def _engine(rollouts: RolloutSettings, server: ServerEngine | None) -> Callable[..., Rollouts]:
    if isinstance(rollouts.engine, str):
        return roll_out_vllm if rollouts.engine == "vllm" else roll_out
    if server is None:
        raise ValueError("rollouts.engine is a server: pass a ServerEngine for it")
    return server.roll_out


@dataclass(frozen=True)
class _Ranked:
    """Rollouts of a batch of samples against the catalogue, R = B * G rows."""

    head: Head
    softmax: Softmax
    target_masked: Tensor


def _noise(sample: Sample, settings: RolloutSettings, *, greedy_too: bool) -> npt.NDArray[np.float64]:
    """(G, T), and for the published computation a row of zeros, which is the greedy rollout."""
    length = settings.max_new_tokens
    noise = sampling_noise(sample.id, seed=settings.seed, rollouts=settings.group_size, length=length)
    return np.vstack([noise, np.zeros((1, length))]) if greedy_too else noise


def _require_finite(z: Tensor, samples: Sequence[Sample]) -> None:
    for usable, fault, advice in (
        (z.isfinite().all(2), "not finite", "try dtype float32 or bfloat16, or check the adapter"),
        (z.any(2), "zero", "check the model's weights"),
    ):
        broken = [sample.id for sample, fine in zip(samples, usable.all(1).tolist(), strict=True) if not fine]
        if broken:
            raise InvalidSampleError(
                f"the model's hidden states are {fault} for sample {broken[0]!r} ({len(broken)} of {len(samples)}); "
                f"{advice}"
            )


def _rank(
    z: Tensor, vectors: Tensor, samples: Sequence[Sample], settings: RolloutSettings, *, mask_targets: bool
) -> _Ranked:
    """Compare z (B, G, d) with the catalogue; in float64, since dividing by tau magnifies rounding."""
    group = z.shape[1]
    histories = [
        set(sample.history) if mask_targets else set(sample.history) - {sample.target}
        for sample in samples
        for _ in range(group)
    ]
    targets = [sample.target for sample in samples for _ in range(group)]
    masked = [target in history for target, history in zip(targets, histories, strict=True)]
    device = z.device
    head = Head(
        z.flatten(0, 1).double(),
        vectors,
        torch.tensor(targets, device=device),
        tau=settings.tau,
        masked=Masked.of(histories, device),
    )
    return _Ranked(head, softmax_over_items(head), torch.tensor(masked, device=device))


def _keep_outcomes(scored: ScoredSamples, rows: list[int], ranked: _Ranked, settings: RolloutSettings) -> None:
    result = outcomes(
        ranked.head,
        ranked.softmax,
        ndcg_k=settings.ndcg_cutoff(ranked.head.n_items),
        softmax_weight=settings.softmax_weight,
        target_masked=ranked.target_masked,
    )
    for name in OUTCOMES:
        getattr(scored, name)[rows] = getattr(result, name).view(len(rows), -1).cpu().numpy()
    scored.advantage[rows], scored.signal[rows] = advantages(scored.reward[rows], scored.ndcg[rows] > 0)


def _keep_vectors(scored: ScoredSamples, rows: list[int], ranked: _Ranked) -> None:
    """Vectors from the rollouts' own advantages; the teacher-forced A = 1 where a group's outcomes say nothing."""
    own = scored.signal[rows] == SIGNAL_POLICY
    weights = np.where(own[:, None], scored.advantage[rows], 1.0)
    scale = torch.from_numpy(weights).flatten().to(ranked.head.u.device)
    gradient, product = gradient_and_hvp(ranked.head, ranked.softmax, torch.ones_like(scale))
    # Of a loss times A, the gradient has a factor A, and its Hessian applied to that gradient A^2.
    scaled = {"gradient": scale[:, None] * gradient, "hvp": scale.square()[:, None] * product, "teacher": gradient}
    for name, vectors in scaled.items():
        getattr(scored, name)[rows] = vectors.view(len(rows), -1, vectors.shape[1]).mean(1).cpu().numpy()
    embedding = ranked.head.u.view(len(rows), -1, ranked.head.u.shape[1]).mean(1)
    scored.embedding[rows] = torch.nn.functional.normalize(embedding, dim=1).cpu().numpy()
    _mark_without_signal(scored, rows)


def _keep_greedy_vectors(
    scored: ScoredSamples, z: Tensor, vectors: Tensor, samples: Sequence[Sample], tau: float
) -> None:
    """The published vectors: greedy rollouts z (B, d), A = 1, softmax over the targets of each 8 samples."""
    for first in range(0, len(samples), PAPER_BATCH):
        rows = list(range(first, min(first + PAPER_BATCH, len(samples))))
        shared = vectors[[samples[row].target for row in rows]]
        head = Head(z[rows].double(), shared, torch.arange(len(rows), device=z.device), tau=tau)
        ones = torch.ones(len(rows), device=z.device)
        vectors_of_batch = gradient_and_hvp(head, softmax_over_items(head), ones, loss="ratio")
        scored.gradient[rows], scored.hvp[rows] = (vector.cpu().numpy() for vector in vectors_of_batch)
        scored.teacher[rows], scored.embedding[rows] = scored.gradient[rows], head.u.cpu().numpy()
    scored.signal[:] = SIGNAL_TEACHER
    _mark_without_signal(scored, list(range(len(samples))))


def _mark_without_signal(scored: ScoredSamples, rows: list[int]) -> None:
    """Mark samples whose gradient is zero as having no signal."""
    without = ~scored.gradient[rows].any(axis=1)
    scored.signal[np.array(rows)[without]] = SIGNAL_NONE
