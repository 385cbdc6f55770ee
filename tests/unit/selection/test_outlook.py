"""The outlook: what a selection's result says before anything is trained on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api_schemas import SelectionCreate
from minirec.selection.outlook import MUCH_GATED, WHERE_LITTLE_IS_GATED, WHERE_MUCH_IS_GATED, outlook, outlook_text
from worker.measured import Measured
from worker.select import choose, outlook_of

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


@pytest.mark.parametrize(("dead", "promises"), [(0, False), (1, False), (6, True)])
def test_the_gated_share_decides_what_is_to_be_expected(dead: int, promises: bool) -> None:
    found = outlook_of(request(), choose(request(), pool(dead)))
    assert found is not None
    assert ("no gain" not in found.text) == promises
    assert (found.gain > 0) == promises


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
    assert outlook_of(request(**settings), choose(request(), pool(6))) is None


def test_an_interval_around_zero_is_no_gain() -> None:
    assert outlook(MUCH_GATED) is WHERE_MUCH_IS_GATED
    assert outlook(MUCH_GATED - 0.01) is WHERE_LITTLE_IS_GATED
    assert "no gain" in outlook_text(replace(WHERE_MUCH_IS_GATED, low=-0.001))
