"""The published numbers of the paper's authors, where they lie beside the repository."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """The folder of the published score files."""
    return shared / "golden"


def _column(path: Path, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    with gzip.open(path, "rt") as lines:
        return np.array([json.loads(line)[name] for line in lines])


@pytest.fixture(scope="session")
def golden_rewards(golden: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(10748, 4) rewards of the published proxy's rollouts."""
    return _column(golden / "rewards.jsonl.gz", "reward")


@pytest.fixture(scope="session")
def golden_hits(golden: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(10748, 4) hits of the same rollouts."""
    return _column(golden / "rewards.jsonl.gz", "hit_ratio").astype(bool)


@pytest.fixture(scope="session")
def golden_learnability(golden: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(10748,) L as published."""
    return _column(golden / "scores.jsonl.gz", "difficulty")


@pytest.fixture(scope="session")
def golden_representativeness(golden: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(10748,) R as published."""
    return _column(golden / "scores.jsonl.gz", "representativeness")
