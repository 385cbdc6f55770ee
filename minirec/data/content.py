"""What becomes of an upload: tables that can be stored, and the facts that a dataset's record has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minirec.api_schemas.rows import TimestampUnit
from minirec.data.files import OnRead, ignored
from minirec.data.ingest import ingest, ingest_prompts

_FACTS = ("n_samples", "n_items", "n_users", "splits", "warnings")


@dataclass(frozen=True)
class Content:
    """An upload without a fault."""

    hash: str
    """SHA-256 over the rows."""
    facts: dict[str, Any]
    """Fields of the dataset's record."""
    tables: dict[str, Path]
    """Parquet files: `items` and `samples`, or `prompts`."""


def check_files(
    files: Mapping[str, Path],
    folder: Path,
    *,
    titles: Mapping[str, str],
    timestamp_unit: TimestampUnit | None = None,
    on_read: OnRead = ignored,
) -> Content:
    """Check every row of an upload.

    Args:
        files: `samples` and `items`, or `prompts`.
        folder: where the tables are written, made if need be.
        titles: what messages call each file.
        timestamp_unit: the unit of the samples' times, seconds unless given.
        on_read: called with the bytes read since the last call; may raise to stop.

    Returns:
        The tables, with what is in them.

    Raises:
        DatasetError: for rows or files that are not right.
    """
    if "prompts" in files:
        prompts = ingest_prompts(files["prompts"], folder, name=titles["prompts"], on_read=on_read)
        facts = {"kind": "prompts", "n_samples": prompts.n_prompts, "n_items": 0, "n_users": 0}
        facts |= {"splits": prompts.splits, "warnings": prompts.warnings}
        return Content(prompts.content_hash, facts, {"prompts": prompts.path})
    found = ingest(
        files["samples"],
        files["items"],
        folder,
        samples_name=titles["samples"],
        items_name=titles["items"],
        timestamp_unit=timestamp_unit,
        on_read=on_read,
    )
    facts = {name: getattr(found, name) for name in _FACTS}
    return Content(found.content_hash, facts, {"items": found.items_path, "samples": found.samples_path})
