from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec.api_schemas.models import ModelReference
from minirec.data.dataset import Sample
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import resolve
from minirec.policy.tiny import build_tiny_model

ADJECTIVES = ("Quiet", "Electric", "Last", "Golden", "Broken", "Northern", "Hidden", "Slow")
NOUNS = ("River", "Harbour", "Orchestra", "Signal", "Garden", "Letters", "Winter", "Machine")


@pytest.fixture(scope="session")
def items() -> list[dict[str, Any]]:
    titles = [f"{adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS]
    return [{"item_id": f"i{index}", "title": title, "year": 1960 + index} for index, title in enumerate(titles)]


@pytest.fixture(scope="session")
def samples(items: list[dict[str, Any]]) -> list[Sample]:
    generator = np.random.default_rng(0)
    return [make_sample(f"s{index}", generator, len(items)) for index in range(6)]


def make_sample(name: str, generator: np.random.Generator, n_items: int) -> Sample:
    """A sample with 1 to 9 history items, times and ratings."""
    length = int(generator.integers(1, 10))
    rows = generator.choice(n_items, size=length + 1, replace=False).tolist()
    times = np.cumsum(generator.integers(0, 200 * 86_400, size=length + 1)).astype(float).tolist()
    return Sample(
        id=name,
        history=tuple(rows[:-1]),
        target=rows[-1],
        timestamp=times[-1],
        ratings=tuple(float(rating) for rating in generator.integers(1, 6, size=length)),
        history_timestamps=tuple(times[:-1]),
        user_id=None,
        split=None,
    )


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]) -> Path:
    """A models folder with one tiny random model in it, called `tiny`."""
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root / "tiny", texts=[item["title"] for item in items] + ["<answer></answer>"])
    return root


@pytest.fixture(scope="session")
def policy(models_root: Path) -> Policy:
    return load_policy(resolve(ModelReference(source="local", id="tiny"), models_root=models_root), device="cpu")
