"""The outlook: what a selection's result says before anything is trained on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minirec.api_schemas import SelectionCreate
from minirec.selection import Gradients
from minirec.selection.outlook import BOUNDS, BY_GATED_SHARE, Outlook, outlook, outlook_text
from minirec.worker.measured import Measured
from minirec.worker.select import choose, outlook_of

MODEL = {"source": "local", "id": "tiny"}


def request(**settings: Any) -> SelectionCreate:
    return SelectionCreate.model_validate({"dataset_id": "ds_1", "model": MODEL, "size": 5, "proxy": {}} | settings)


def pool(dead: int) -> Measured:
    """Return twenty samples of which the first `dead` never hit."""
    draw = np.random.default_rng(0)
    rewards = draw.uniform(0.1, 0.9, (20, 4))
    rewards[:dead] = 0.0
    vectors = draw.standard_normal((20, 8))
    return Measured(np.arange(20), rewards, rewards > 0, np.ones(20, np.int8), vectors, vectors)


@pytest.mark.parametrize(("dead", "place"), [(0, 0), (1, 0), (2, 1), (9, 1), (10, 2), (18, 2)])
def test_the_gated_share_decides_what_is_to_be_expected(dead: int, place: int) -> None:
    assert outlook(dead / 20) is BY_GATED_SHARE[place]


def test_the_result_says_what_would_be_wasted() -> None:
    measured = pool(17)
    towards = Gradients(measured.vectors, measured.embeddings)
    chosen = choose(request(), measured, towards=towards)
    found = outlook_of(request(), chosen, to_validation=True)
    assert found is not None
    assert found.random_wasted == 17 / 20
    assert found.picked_wasted == 2 / 5  # Three of the pool are open.
    assert ("85%" in found.text) == (found.high >= 0)
    assert found.gain == BY_GATED_SHARE[2].gain


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "paper"},
        {"signals": "uploaded", "model": None, "proxy": None},
        {"weights": {"alpha": 1.0}},
        {"rewards": [{"name": "exact_answer"}], "proxy": None},
        {"proxy": None},
    ],
)
def test_nothing_is_said_of_what_was_not_measured(settings: dict[str, Any]) -> None:
    body = request(**settings)
    assert outlook_of(body, choose(body, pool(6)), to_validation=True) is None
    assert outlook_of(request(), choose(request(), pool(6)), to_validation=False) is None


@pytest.mark.parametrize(
    ("low", "high", "share", "says"),
    [
        (0.001, 0.009, 0.5, "were better than on random ones"),
        (-0.009, -0.001, 0.5, "were worse than on random ones"),
        (-0.001, 0.009, 0.5, "cannot be told beforehand"),
        (-0.001, 0.009, BOUNDS[0] / 2, "no gain over a random choice"),
    ],
)
def test_an_interval_around_zero_is_no_gain(low: float, high: float, share: float, says: str) -> None:
    found = Outlook(gain=(low + high) / 2, low=low, high=high, sets=4, runs=40)
    assert says in outlook_text(found, random_wasted=share, picked_wasted=0.0)
