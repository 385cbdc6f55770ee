"""Upload to dataset: two files in any accepted format become two checked Parquet tables, or a list of faults."""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from minirec.api_schemas.rows import ItemRow, PromptRow, SampleRow, TimestampUnit
from minirec.data.columns import Columns
from minirec.data.faults import DatasetError, Faults, shown
from minirec.data.files import DEFAULT_LIMITS, Limits, OnRead, ignored
from minirec.data.layouts import Notes
from minirec.data.quick import Chunk, quick_samples
from minirec.data.rows import Lines, read_chunks, read_rows
from minirec.data.tables import ITEMS, PROMPTS, SAMPLES, TableWriter
from minirec.data.times import Times

__all__ = ["DatasetError", "Ingested", "IngestedPrompts", "Limits", "ingest", "ingest_prompts"]

_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class Ingested:
    """A dataset on disk, and what is in it."""

    samples_path: Path
    items_path: Path
    n_samples: int
    n_items: int
    n_users: int
    splits: dict[str, int]
    """Samples per split; `none` counts the samples without one."""
    content_hash: str
    """SHA-256 over the rows in their order, the same for every file format they can come in."""
    warnings: list[str] = field(default_factory=list)
    """What looks odd and is no fault, in whole sentences."""


def ingest(
    samples: Path,
    items: Path,
    out_dir: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    samples_name: str | None = None,
    items_name: str | None = None,
    timestamp_unit: TimestampUnit | None = None,
    on_read: OnRead = ignored,
) -> Ingested:
    """Check every row of samples and catalogue and write `samples.parquet` and `items.parquet` into `out_dir`.

    Args:
        samples: JSONL, gzip-compressed JSONL or Parquet, recognised by its content.
        items: the catalogue, in the same formats.
        out_dir: made if need be.
        limits: bounds on each file.
        samples_name: what messages call the file.
        items_name: what messages call the file.
        timestamp_unit: the unit of `timestamp` and `history_timestamps`, seconds unless given.
        on_read: called with the bytes read since the last call; may raise to stop.

    Returns:
        The paths of the tables, counts, and warnings.

    Raises:
        DatasetError: for rows or files that are not right; `out_dir` then holds nothing new.
    """
    faults = Faults()
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".ingest-") as folder:
        scratch = Path(folder)
        catalogue = _Catalogue(items_name or items.name, faults)
        contents = [_write(catalogue.rows(items, limits, on_read), scratch / "items.parquet", ITEMS)]
        # Against a broken catalogue every sample could look wrong: then only its own shape is checked.
        name = samples_name or samples.name
        times = Times(timestamp_unit, name, faults)
        pool = _Samples(name, faults, None if faults.total else catalogue.row_of, times)
        rows = pool.rows(samples, limits, timestamp_unit, on_read)
        contents.append(_write(rows, scratch / "samples.parquet", SAMPLES))
        counts = pool.count(scratch / "samples.parquet")
        if faults.total:
            raise DatasetError(faults.errors, faults.total)
        for name in ("items.parquet", "samples.parquet"):
            (scratch / name).replace(out_dir / name)
    pa.default_memory_pool().release_unused()
    return Ingested(
        samples_path=out_dir / "samples.parquet",
        items_path=out_dir / "items.parquet",
        n_samples=len(pool.lines),
        n_items=len(catalogue.row_of),
        content_hash=_hash(b"minirec dataset 2\n", *contents),
        warnings=times.warnings(),
        **counts,
    )


@dataclass(frozen=True)
class IngestedPrompts:
    """A prompt dataset on disk, and what is in it."""

    path: Path
    n_prompts: int
    splits: dict[str, int]
    """Prompts per split; `none` counts the prompts without one."""
    content_hash: str
    """SHA-256 over the rows in their order, the same for every file format they can come in."""
    warnings: list[str] = field(default_factory=list)
    """What was read from a layout of other tools, in whole sentences."""


def ingest_prompts(
    prompts: Path,
    out_dir: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    name: str | None = None,
    on_read: OnRead = ignored,
) -> IngestedPrompts:
    """Check prompts row by row and write `prompts.parquet` into `out_dir`; files and faults as with `ingest`.

    Args:
        prompts: as `samples` of `ingest`.
        out_dir: made if need be.
        limits: bounds on the file.
        name: what messages call it.
        on_read: as there.
    """
    faults = Faults()
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".ingest-") as folder:
        scratch = Path(folder) / "prompts.parquet"
        pool = _Prompts(name or prompts.name, faults)
        content = _write(pool.rows(prompts, limits, on_read), scratch, PROMPTS)
        table = pq.read_table(scratch, columns=["id", "split"])
        _check_unique(table["id"], pool.lines, faults, pool.name)
        if faults.total:
            raise DatasetError(faults.errors, faults.total)
        scratch.replace(out_dir / "prompts.parquet")
    found = _hash(b"minirec prompts 2\n", content)
    return IngestedPrompts(out_dir / "prompts.parquet", len(pool.lines), _splits(table), found, pool.warnings())


def _write(parts: Iterator[tuple[Any, ...] | pa.Table], path: Path, schema: Any) -> bytes:
    """Write rows, single ones or tables of them, to a table; return the digest of its content."""
    with TableWriter(path, schema) as table:
        for part in parts:
            if isinstance(part, tuple):
                table.add(part)
            else:
                table.add_table(part)
    return table.content.digest()


def _hash(kind: bytes, *contents: bytes) -> str:
    return hashlib.sha256(kind + b"".join(contents)).hexdigest()


class _Catalogue:
    """Reads the items: unique ids, and everything beyond the title kept as one JSON object."""

    def __init__(self, name: str, faults: Faults) -> None:
        self._name = name
        self._faults = faults
        self.row_of: dict[str, int] = {}

    def rows(self, path: Path, limits: Limits, on_read: OnRead) -> Iterator[tuple[str, str, str]]:
        lines = array("q")
        for line, item in read_rows(path, self._name, ItemRow, self._faults, limits, on_read=on_read):
            if (row := self.row_of.get(item.item_id)) is not None:
                msg = f"{shown(item.item_id)} is on line {lines[row]} already; item ids must be unique"
                self._faults.add(self._name, line, "item_id", msg)
            elif (extra := _extra(item, self._name, line, self._faults)) is not None:
                self.row_of[item.item_id] = len(lines)
                lines.append(line)
                yield item.item_id, item.title, extra


class _Samples:
    """Reads the samples: item ids become rows of the catalogue (None: not to be checked against)."""

    def __init__(self, name: str, faults: Faults, row_of: Mapping[str, int] | None, times: Times) -> None:
        self._name = name
        self._faults = faults
        self._row_of = row_of
        self._times = times
        self.lines = array("q")
        """Line of every sample that was kept."""

    def rows(
        self, path: Path, limits: Limits, timestamp_unit: TimestampUnit | None, on_read: OnRead
    ) -> Iterator[tuple[Any, ...] | pa.Table]:
        row_of = self._row_of
        how: dict[str, Any] = {"timestamp_unit": timestamp_unit, "on_read": on_read}
        for part in read_chunks(path, self._name, SampleRow, self._faults, limits, self._quick, **how):
            if isinstance(part, Chunk):
                self.lines.extend(part.numbers)
                yield part.table
                continue
            line, s = part
            if not self._times.check(line, s):
                continue
            try:
                history = [row_of[item] for item in s.history] if row_of is not None else []
                target = row_of[s.target] if row_of is not None else 0
            except KeyError:
                self._add_unknown(line, s)
                continue
            self.lines.append(line)
            yield s.id, s.user_id, history, target, s.timestamp, s.ratings, s.history_timestamps, s.split

    def _quick(self, rows: Lines | Columns) -> Chunk | None:
        return None if self._row_of is None else quick_samples(rows, self._row_of, self._times)

    def _add_unknown(self, line: int, sample: SampleRow) -> None:
        assert self._row_of is not None
        unknown = [place for place, item in enumerate(sample.history) if item not in self._row_of]
        if unknown:
            more = f" (and {len(unknown) - 1} more in this history)" if len(unknown) > 1 else ""
            msg = f"item {shown(sample.history[unknown[0]])} is not in the catalogue{more}"
            self._faults.add(self._name, line, f"history[{unknown[0]}]", msg)
        if sample.target not in self._row_of:
            self._faults.add(self._name, line, "target", f"item {shown(sample.target)} is not in the catalogue")

    def count(self, path: Path) -> dict[str, Any]:
        """Count users and splits in the written table, and look there for sample ids that came twice."""
        # One column at a time: they are all that is ever in memory of a whole file.
        _check_unique(pq.read_table(path, columns=["id"])["id"], self.lines, self._faults, self._name)
        users = pq.read_table(path, columns=["user_id"])["user_id"]
        n_users = pc.count_distinct(users, mode="only_valid").as_py()
        return {"n_users": n_users, "splits": _splits(pq.read_table(path, columns=["split"]))}


class _Prompts:
    """Reads the prompts: whatever has a shape of its own becomes JSON."""

    def __init__(self, name: str, faults: Faults) -> None:
        self.name = name
        self._faults = faults
        self._notes = Notes()
        self.lines = array("q")
        """Line of every prompt that was kept."""

    def rows(self, path: Path, limits: Limits, on_read: OnRead) -> Iterator[tuple[Any, ...]]:
        for line, row in read_rows(
            path, self.name, PromptRow, self._faults, limits, notes=self._notes, on_read=on_read
        ):
            if (extra := _extra(row, self.name, line, self._faults)) is None:
                continue
            self.lines.append(line)
            given = row.model_dump(include={"prompt", "answer"})
            answer = None if row.answer is None else _canonical_json(given["answer"])
            yield row.id, _canonical_json(given["prompt"]), answer, row.source, row.split, extra

    def warnings(self) -> list[str]:
        """Return one sentence on what was read from a layout of other tools."""
        read = ", ".join(f"{note} ({count} rows)" for note, count in self._notes.items())
        return [f"read from another layout: {read}"] if read else []


def _extra(row: ItemRow | PromptRow, name: str, line: int, faults: Faults) -> str | None:
    """Return a row's further fields as canonical JSON, or add faults and return None."""
    present = row.model_extra or {}
    try:
        return _canonical_json(present)
    except ValueError:
        for field, value in present.items():
            try:
                _canonical_json(value)
            except ValueError:
                faults.add(name, line, field, "holds NaN or an infinite number; use null")
        return None


def _splits(table: Any) -> dict[str, int]:
    """Return the rows per split; `none` counts those without one."""
    return {entry["values"] or "none": entry["counts"] for entry in pc.value_counts(table["split"]).to_pylist()}


def _check_unique(ids: Any, lines: Sequence[int], faults: Faults, name: str) -> None:
    """Add a fault for every id that came before; `lines` are those of the rows."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    first_line: dict[str, int] = {}
    for row in pc.indices_nonzero(pc.is_in(ids, repeated)).to_pylist():
        sample_id = ids[row].as_py()
        line = lines[row]
        if (first := first_line.setdefault(sample_id, line)) != line:
            msg = f"{shown(sample_id)} is on line {first} already; sample ids must be unique"
            faults.add(name, line, "id", msg)


def _canonical_json(value: object) -> str:
    return _json.encode(value)
