from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minirec.api_schemas.models import AdapterReference, ModelReference
from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Dataset
from minirec.data.ingest import ingest
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import resolve
from minirec.policy.tiny import build_tiny_model

TITLES = ("Quiet River", "Red Harbour", "Last Orchestra", "Golden Signal", "Broken Garden", "Northern Winter")


@pytest.fixture(scope="session")
def dataset_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Six albums in a ring: whoever has one wants the next. Two samples end on the same target."""
    folder = tmp_path_factory.mktemp("ring")
    items = [{"item_id": f"i{index}", "title": title} for index, title in enumerate(TITLES)]
    samples = [{"id": f"s{index}", "history": [f"i{index}"], "target": f"i{(index + 1) % 6}"} for index in range(6)]
    samples.append({"id": "s6", "history": ["i3", "i1", "i4"], "target": "i1"})
    for name, rows in (("samples", samples), ("items", items)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    stored = ingest(folder / "samples", folder / "items", folder / "dataset")
    return stored.samples_path, stored.items_path


@pytest.fixture(scope="session")
def dataset(dataset_files: tuple[Path, Path]) -> Dataset:
    return Dataset.open(*dataset_files)


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one tiny random model in it, called `tiny`."""
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root / "tiny", texts=TITLES, hidden_size=64)
    return root


@pytest.fixture(scope="session")
def load_tiny(models_root: Path) -> Callable[..., Policy]:
    """Loads the tiny model, with an adapter or in another dtype."""

    def load(*, adapter: str | None = None, **changes: Any) -> Policy:
        found = AdapterReference(source="local", id=adapter) if adapter else None
        reference = ModelReference(source="local", id="tiny", adapter=found, **changes)
        return load_policy(resolve(reference, models_root=models_root), device="cpu")

    return load


@pytest.fixture
def policy(load_tiny: Callable[..., Policy]) -> Policy:
    return load_tiny()


@pytest.fixture
def policy64(policy: Policy) -> Policy:
    """The tiny policy in float64, where rounding cannot hide a mistake."""
    return Policy(copy.deepcopy(policy.model).to(torch.float64), policy.tokenizer)


@pytest.fixture
def rollouts() -> RolloutSettings:
    return RolloutSettings(group_size=4, max_new_tokens=4, temperature=1.0, top_k=20, ndcg_k=1000)
