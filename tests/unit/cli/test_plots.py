"""Pictures come out for every selection there can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from minirec.api_schemas import SampleScore, SubsetRow
from minirec.cli.plots import plot_curriculum, plot_scores
from tests.unit.cli.test_commands import SCORE
from tests.unit.client.test_client_resources import ROW

PNG = b"\x89PNG\r\n"


@pytest.mark.parametrize("count", [1, 7])
def test_a_curriculum_of_any_size_is_drawn(tmp_path: Path, count: int) -> None:
    places = ({"position": place, "group": place // 3, "reward_mean": 0.1 * place} for place in range(count))
    rows = [SubsetRow.model_validate(ROW | place) for place in places]
    assert plot_curriculum(rows, tmp_path / "c.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("rewards", [[0.5, 0.5], [0.0, 0.1, 0.9]])
def test_scores_are_drawn_also_where_all_are_equal(tmp_path: Path, rewards: list[float]) -> None:
    scores = [SampleScore.model_validate(SCORE | {"reward_mean": reward, "score": reward}) for reward in rewards]
    assert plot_scores(scores, tmp_path / "s.png").read_bytes().startswith(PNG)
