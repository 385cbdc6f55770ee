"""A short run of `make chaos`: every promise is checked, by the same code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import run

KILLS = 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_work_survives_the_death_of_its_processes(tmp_path: Path) -> None:
    report = run(tmp_path, kills=KILLS, seed=3, small=True)
    assert report.faults == [], report.text()
    assert sum(strike.kind == "kill" for strike in report.strikes) == KILLS
    assert report.load.jobs >= 4
