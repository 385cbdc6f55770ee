"""Imports of a few rows; what comes out must be what an upload takes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minirec.data.importers import Imported, Options, convert
from minirec.data.ingest import ingest, ingest_prompts


@dataclass(frozen=True)
class Result:
    """An import, and its rows."""

    imported: Imported
    rows: dict[str, list[dict[str, Any]]]

    @property
    def samples(self) -> list[dict[str, Any]]:
        return self.rows["samples"]

    @property
    def items(self) -> list[dict[str, Any]]:
        return self.rows["items"]

    @property
    def prompts(self) -> list[dict[str, Any]]:
        return self.rows["prompts"]

    def path(self, sample_id: str) -> tuple[list[str], str]:
        """Return a sample's history and target."""
        sample = next(row for row in self.samples if row["id"] == sample_id)
        return sample["history"], sample["target"]


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Import a source with options, take the result through the checks of an upload, and return it with its rows."""

    def imported(origin: Any, format: str | None = None, **options: Any) -> Result:
        found = convert(origin, tmp_path / "imported", format=format, options=Options(**options), overwrite=True)
        if "prompts" in found.files:
            checked = ingest_prompts(found.files["prompts"], tmp_path / "checked")
            assert checked.n_prompts == found.written["prompts"]
            assert checked.splits == found.splits
        else:
            kept = ingest(found.files["samples"], found.files["items"], tmp_path / "checked")
            assert (kept.n_samples, kept.n_items) == (found.written["samples"], found.written["items"])
            assert kept.splits == found.splits
        return Result(found, {part: read(path) for part, path in found.files.items()})

    return imported


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write files into a folder, `.gz` ones compressed, and return it."""

    def written(files: dict[str, str | bytes]) -> Path:
        folder = tmp_path / "source"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return folder

    return written
