"""The recommendation head: from z and the item vectors to the softmax over the catalogue (docs/method.md, section 1).

Everything here walks the catalogue in blocks, so memory does not grow with it. The arithmetic is done in the wider of
the two inputs' types and at least in float32; sums over blocks are kept in float64.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 4096
"""Items per block."""
TIE = 1e-9
"""Scores this close are the same item text, apart from rounding."""


@dataclass(frozen=True)
class Masked:
    """Which items are out of the softmax of which row: pairs (row, item)."""

    rows: Tensor
    items: Tensor

    @classmethod
    def of(cls, items_per_row: Sequence[Collection[int]], device: torch.device) -> Masked:
        """Make the pairs of one collection of item numbers per row."""
        pairs = [(row, item) for row, items in enumerate(items_per_row) for item in items]
        table = torch.tensor(pairs, dtype=torch.int64, device=device).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def apply(self, scores: Tensor, start: int) -> Tensor:
        """Set the masked entries of scores (R, block), of items from `start` on, to -inf in place."""
        inside = (self.items >= start) & (self.items < start + scores.shape[1])
        scores[self.rows[inside], self.items[inside] - start] = -torch.inf
        return scores


class Head:
    """Rows z (R, d) against items (M, d) and one target item each: s_j = <u, e_j> / tau (docs/method.md, section 1)."""

    def __init__(
        self,
        z: Tensor,
        items: Tensor,
        targets: Tensor,
        *,
        tau: float,
        masked: Masked | None = None,
        block: int = BLOCK,
    ) -> None:
        self.dtype = torch.promote_types(torch.promote_types(z.dtype, items.dtype), torch.float32)
        self.norm: Tensor = torch.linalg.vector_norm(z.to(self.dtype), dim=1, keepdim=True)
        """(R, 1), |z|."""
        self.u: Tensor = z.to(self.dtype) / self.norm
        """(R, d), z / |z|."""
        self.tau = tau
        self.target_vectors = items[targets].to(self.dtype)
        """(R, d)."""
        self.target_scores = (self.u * self.target_vectors).sum(1, keepdim=True) / tau
        """(R, 1)."""
        self._items = items
        self._targets = Masked(torch.arange(len(targets), device=targets.device), targets)
        self._masked = masked
        self._block = block

    @property
    def n_items(self) -> int:
        """Items of the catalogue."""
        return len(self._items)

    def others(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield item vectors (m, d) and scores (R, m) by block; each row's target and masked items score -inf."""
        for start in range(0, self.n_items, self._block):
            vectors = self._items[start : start + self._block].to(self.dtype)
            scores = self._targets.apply((self.u @ vectors.T).div_(self.tau), start)
            yield vectors, scores if self._masked is None else self._masked.apply(scores, start)


@dataclass(frozen=True)
class Softmax:
    """Softmax over the catalogue, one per row, without its M entries.

    The target is kept apart from the others: where p_y is nearly 1, a sum over all items would round the rest away.
    """

    log_others: Tensor
    """(R, 1) float64, log of the sum of exp(s_j) over j != y."""
    log_total: Tensor
    """(R, 1) float64, the same over all items."""
    mean_other: Tensor
    """(R, d), mean of the other item vectors, weighed by their probabilities."""


def softmax_over_items(head: Head) -> Softmax:
    """Return normalisers and mean item of each row in one pass over the catalogue, whatever the size of the scores."""
    rows, size = head.u.shape
    highest = torch.full((rows, 1), -torch.inf, dtype=head.dtype, device=head.u.device)
    total = torch.zeros(rows, 1, dtype=torch.float64, device=head.u.device)
    weighted = torch.zeros(rows, size, dtype=torch.float64, device=head.u.device)
    for vectors, scores in head.others():
        peak = torch.maximum(highest, scores.amax(1, keepdim=True))
        # A row of which everything so far is masked has no peak; any finite number does instead.
        shift = torch.where(peak.isinf(), 0.0, peak)
        rescale = torch.exp(highest - shift).double()
        weights = scores.sub_(shift).exp_()
        total = total * rescale + weights.sum(1, keepdim=True, dtype=torch.float64)
        weighted = weighted * rescale + (weights @ vectors).double()
        highest = peak
    log_others = torch.where(total > 0, total.log() + highest, -torch.inf)
    mean_other = torch.where(total > 0, weighted / total, 0.0).to(head.dtype)
    return Softmax(log_others, torch.logaddexp(log_others, head.target_scores.double()), mean_other)


def count_above(head: Head) -> Tensor:
    """Return how many items score higher than each row's target, ties not counted: (R,) int64."""
    above = torch.zeros(len(head.u), dtype=torch.int64, device=head.u.device)
    bound = head.target_scores + TIE * head.target_scores.abs().clamp(min=1)
    for _, scores in head.others():
        above += (scores > bound).sum(1)
    return above
