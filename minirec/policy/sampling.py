"""How a token is drawn from a model's logits (docs/method.md, section 2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings


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


def sampling_noise(sample_id: str, *, seed: int, rollouts: int, length: int) -> npt.NDArray[np.float64]:
    """Return uniform numbers (rollouts, length) in [0, 1) that depend on the seed and the sample alone."""
    digest = hashlib.sha256(f"{seed}\0{sample_id}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16])))
    return generator.random((rollouts, length))


def draw(logits: Tensor, noise: npt.NDArray[np.float64], sampling: Sampling) -> npt.NDArray[np.int64]:
    """Draw a token per row of logits (R, V) as `draw_tokens` does, with noise (R,) of the host and to the host."""
    drawn: npt.NDArray[np.int64] = (
        draw_tokens(logits, torch.from_numpy(noise).to(logits.device), sampling).cpu().numpy()
    )
    return drawn


def draw_tokens(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Draw a token per row of logits (R, V) by inverting the cumulative distribution at noise (R,); at 0 the likeliest.

    Temperature, then top-k, then top-p, as in transformers. The distribution is laid out by token id: laid out by
    probability, rounding could swap two near-tied tokens, and the same noise would then draw the other one.
    """
    top_k = min(sampling.top_k or logits.shape[1], logits.shape[1])
    # A GPU finds the k largest sooner among narrow numbers; which they are is the same.
    values, tokens = torch.topk(logits if logits.is_cuda else logits.float(), top_k)
    probability = torch.softmax(values.double() / sampling.temperature, dim=1)
    before = probability.cumsum(1) - probability
    probability = torch.where(before < sampling.top_p, probability, 0.0)
    by_id, order = tokens.sort(1)
    probability = probability.gather(1, order)
    cumulative = probability.cumsum(1)
    threshold = noise[:, None] * cumulative[:, -1:]
    # A threshold that rounding has lifted to the whole would lie behind the last token that may be drawn.
    last = top_k - 1 - (probability > 0).flip(1).int().argmax(1, keepdim=True)
    choice = torch.minimum(torch.searchsorted(cumulative, threshold, right=True), last)
    return torch.where(threshold > 0, by_id.gather(1, choice), tokens[:, :1])[:, 0]
