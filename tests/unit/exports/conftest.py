"""A real dataset, a selection from it whose training order is unlike any other order, and its exports."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from minirec.api_schemas.exports import ExportFormat
from minirec.data.dataset import Dataset, PromptDataset
from minirec.data.exports import Pick, Row, Scores, build_rows, write_export
from minirec.data.ingest import ingest, ingest_prompts
from tests.builders import tiny_model, write_files, write_mixed_prompts

SELECTION = {"id": "sel_1", "provenance": {"model": {"id": "tiny", "revision": "abc"}, "dataset_content_hash": "d0"}}
STAGES = (4, 4, 3)
DEFAULTS: dict[str, Any] = {"selection": SELECTION, "kind": "interactions", "window": 3, "batch_size": None}
REWARDS = [{"name": "exact_title", "weight": 1.0}, {"name": "token_f1", "weight": 0.5}]
Export = Callable[..., Path]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    ingested = ingest(*write_files(folder), folder / "stored")
    return Dataset.open(ingested.samples_path, ingested.items_path)


@pytest.fixture(scope="session")
def picks() -> list[Pick]:
    """Eleven samples in training order, in three stages."""
    rng = np.random.default_rng(1)
    rows = rng.choice(48, size=sum(STAGES), replace=False)
    ranks = rng.permutation(sum(STAGES))
    stages = np.repeat(np.arange(len(STAGES)), STAGES)
    return [
        Pick(int(row), int(rank), int(stage), Scores(rng.random(), rng.random(), rng.random(), 4, rng.random(), None))
        for row, rank, stage in zip(rows, ranks, stages, strict=True)
    ]


@pytest.fixture(scope="session")
def rows(dataset: Dataset, picks: list[Pick]) -> list[Row]:
    return build_rows(dataset, picks, window=3, source="shop/clicks")


@pytest.fixture(scope="session")
def prompt_dataset(tmp_path_factory: pytest.TempPathFactory) -> PromptDataset:
    folder = tmp_path_factory.mktemp("prompts")
    return PromptDataset.open(ingest_prompts(write_mixed_prompts(folder), folder / "stored").path)


@pytest.fixture(scope="session")
def prompt_rows(prompt_dataset: PromptDataset, picks: list[Pick]) -> list[Row]:
    """The same picks of a dataset of prompts."""
    return build_rows(prompt_dataset, picks, window=3, source="the/rest")


def written(rows: list[Row], format: ExportFormat, **options: Any) -> bytes:
    file = io.BytesIO()
    write_export(file, format, rows, **DEFAULTS | options)
    return file.getvalue()


@pytest.fixture
def export(rows: list[Row], tmp_path: Path) -> Export:
    """Write an export and unpack it."""

    def make(format: ExportFormat, **options: Any) -> Path:
        folder = tmp_path / format
        with ZipFile(io.BytesIO(written(rows, format, **options))) as archive:
            archive.extractall(folder)
        return folder

    return make


@pytest.fixture
def prompt_export(prompt_rows: list[Row], tmp_path: Path) -> Export:
    """Write an export of prompts and unpack it."""

    def make(format: ExportFormat, **options: Any) -> Path:
        folder = tmp_path / format
        selection = SELECTION | {"request": {"rewards": REWARDS}}
        content = written(prompt_rows, format, kind="prompts", **{"selection": selection} | options)
        with ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random chat model."""
    return tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)
