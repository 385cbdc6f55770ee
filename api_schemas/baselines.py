"""Baselines: other ways to choose from the same scores, which a selection can be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Baseline = Literal["random", "kmeans", "grand", "el2n", "top_learnability"]
Measurement = Literal["rewards", "vectors", "embeddings", "target_probabilities"]
"""What a pool may be known by. Only scoring a dataset of interactions gives target probabilities."""


@dataclass(frozen=True)
class BaselineFacts:
    """What a client needs to know of a baseline; `minirec.selection.baselines` computes it."""

    picks: str
    """Which samples it takes, in a few words."""
    needs: Measurement = "rewards"


BASELINES: Mapping[Baseline, BaselineFacts] = {
    "random": BaselineFacts("uniformly"),
    "kmeans": BaselineFacts("one sample per cluster of the embeddings", needs="embeddings"),
    "grand": BaselineFacts("the longest vectors behind R", needs="vectors"),
    "el2n": BaselineFacts("the largest errors of the predicted distribution", needs="target_probabilities"),
    "top_learnability": BaselineFacts("the largest L, without representativeness and diversity"),
}
"""In the order of the docs. A new one is a line here, its name in `Baseline`, and a function in the library."""
