"""A slice of the published numbers, so that profile `paper` is proven without the full files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec.selection import curriculum, learnability


@pytest.fixture(scope="module")
def published() -> Any:
    """200 samples with rewards and L, and one curriculum."""
    return json.loads((Path(__file__).parents[2] / "golden" / "published.json").read_text())


def test_learnability_equals_the_published_numbers(published: Any) -> None:
    rewards = np.array(published["rewards"])[:, 1:]
    found = learnability(rewards, sigma=published["pool_sigma"])
    assert np.abs(found - published["learnability"]).max() < 1e-12


def test_the_curriculum_is_the_published_one(published: Any) -> None:
    known = published["curriculum"]
    means = np.zeros(10_748)
    for sample, mean in known["mean_rewards"].items():
        means[int(sample)] = mean
    order = curriculum(means, sorted(known["order"]), groups=known["groups"], seed=known["seed"])
    assert order.tolist() == known["order"]


def test_the_slice_has_samples_that_never_hit(published: Any) -> None:
    never = [hits for hits in published["hits"] if "1" not in hits]
    assert 0 < len(never) < len(published["hits"])
