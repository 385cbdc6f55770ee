"""A stored dataset, opened lazily: what is read is what is asked for."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from minirec.api_schemas.rows import PromptRow
from minirec.api_schemas.selections import StratifyBy
from minirec.data.pool import WITHOUT_SPLIT, pool_label

_GROUPS_KEPT = 4


@dataclass(frozen=True)
class Sample:
    """One sample, its items as row numbers of the catalogue."""

    id: str
    history: tuple[int, ...]
    """Most recent last."""
    target: int
    timestamp: float | None
    ratings: tuple[float | None, ...] | None
    history_timestamps: tuple[float | None, ...] | None
    user_id: str | None
    split: str | None


class SampleTable:
    """The samples of one ingested dataset, of whatever kind; not for use by several threads at once."""

    def __init__(self, samples: pq.ParquetFile) -> None:
        self._samples = samples
        self.n_samples: int = samples.metadata.num_rows
        sizes = [samples.metadata.row_group(i).num_rows for i in range(samples.metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()

    @cached_property
    def ids(self) -> list[str]:
        """Return the sample ids in the order of the rows."""
        return self._samples.read(columns=["id"])["id"].to_pylist()  # type: ignore[no-any-return]

    def sample_json(self, row: int) -> dict[str, Any]:
        """Return one sample as it was uploaded. Raises IndexError for a row that is not there."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> npt.NDArray[Any]:
        """(N,) the split of each row, `none` for those without one."""
        return np.array([split or WITHOUT_SPLIT for split in self._column("split")], dtype=object)

    def pool(self, *, split: str | None, max_samples: int | None, seed: int) -> npt.NDArray[np.int64]:
        """Return the sorted row numbers to select from.

        Which rows these are says `minirec.data.pool.pool_label`. Above `max_samples` a random choice is made, the same
        for the same seed.
        """
        names, counts = np.unique(self.splits.astype(str), return_counts=True)
        label = pool_label(dict(zip(names.tolist(), counts.tolist(), strict=True)), split)
        rows = np.flatnonzero(self.splits == label).astype(np.int64)
        if max_samples is not None and max_samples < len(rows):
            rows = np.sort(np.random.default_rng(seed).choice(rows, max_samples, replace=False))
        return rows

    def strata(self, by: StratifyBy, rows: npt.NDArray[np.int64]) -> list[str | None]:
        """Return what the rows are to be spread over: `user_id`, `target` or `source`; None for rows without one.

        Raises KeyError for a field that samples of this kind do not have.
        """
        values = self._column(by)
        return [None if values[row] is None else str(values[row]) for row in rows]

    def _column(self, name: str) -> list[Any]:
        if name not in self._samples.schema_arrow.names:
            raise KeyError(name)
        return self._samples.read(columns=[name])[name].to_pylist()  # type: ignore[no-any-return]

    def _row(self, row: int) -> dict[str, Any]:
        if not 0 <= row < self.n_samples:
            raise IndexError(f"row {row} of a dataset with {self.n_samples} samples")
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        start = int(row - self._starts[group])
        return self._group(group).slice(start, 1).to_pylist()[0]  # type: ignore[no-any-return]

    def _group(self, group: int) -> pa.Table:
        """Read a row group, keeping the last few: callers walk through the rows in order."""
        if group not in self._groups:
            self._groups[group] = self._samples.read_row_group(group)
            if len(self._groups) > _GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group]


class Dataset(SampleTable):
    """Samples and catalogue of one ingested dataset; not for use by several threads at once."""

    def __init__(self, samples: pq.ParquetFile, items: pq.ParquetFile) -> None:
        super().__init__(samples)
        self._items = items
        self.n_items: int = items.metadata.num_rows

    @classmethod
    def open(cls, samples_parquet: str | Path | BinaryIO, items_parquet: str | Path | BinaryIO) -> Dataset:
        """Open the two files that `ingest` wrote; a file object stays in use as long as the dataset does."""
        return cls(pq.ParquetFile(samples_parquet), pq.ParquetFile(items_parquet))

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        """Return the catalogue: `item_id`, `title` and every other field, in the order of the rows."""
        return [
            {"item_id": row["item_id"], "title": row["title"], **json.loads(row["extra"])}
            for batch in self._items.iter_batches()
            for row in batch.to_pylist()
        ]

    @cached_property
    def targets(self) -> npt.NDArray[np.int64]:
        """(N,) the target of each sample, as its row in the catalogue."""
        targets: npt.NDArray[np.int64] = self._samples.read(columns=["target"])["target"].to_numpy().astype(np.int64)
        return targets

    def sample(self, row: int) -> Sample:
        """Return one sample. Raises IndexError for a row that is not there."""
        fields = self._row(row)
        for name in ("history", "ratings", "history_timestamps"):
            if fields[name] is not None:
                fields[name] = tuple(fields[name])
        return Sample(**fields)

    def shown(self, rows: Sequence[int]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Return samples as they were uploaded, and the titles of the items in them by their ids.

        Of the catalogue two columns are read, whatever else its items have. Raises IndexError for a row that is not
        there.
        """
        samples = [self._row(row) for row in rows]
        used = sorted({item for fields in samples for item in (*fields["history"], fields["target"])})
        items = self._items.read(columns=["item_id", "title"]).take(pa.array(used, pa.int64()))
        ids = dict(zip(used, items["item_id"].to_pylist(), strict=True))
        for fields in samples:
            fields |= {"history": [ids[item] for item in fields["history"]], "target": ids[fields["target"]]}
        titles = dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))
        return [{name: value for name, value in fields.items() if value is not None} for fields in samples], titles

    def sample_json(self, row: int) -> dict[str, Any]:
        """Return one sample as it was uploaded, with item ids. Raises IndexError for a row that is not there."""
        fields = self._row(row)
        fields["history"] = [self.items[item]["item_id"] for item in fields["history"]]
        fields["target"] = self.items[fields["target"]]["item_id"]
        return {name: value for name, value in fields.items() if value is not None}


def sample_ids(samples_parquet: Path) -> list[str]:
    """Return the sample ids of a stored table of samples or prompts, in the order of its rows."""
    return SampleTable(pq.ParquetFile(samples_parquet)).ids


@dataclass(frozen=True)
class Prompt:
    """One prompt to answer in text."""

    id: str
    messages: tuple[dict[str, str], ...]
    """The chat, `role` and `content` each; a prompt that came as a text is one user turn."""
    answer: str | list[str] | None
    source: str | None
    split: str | None
    row: dict[str, Any]
    """All fields as they were uploaded: what rewards get to see."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> Prompt:
        """Return the prompt of an uploaded row."""
        given = row["prompt"]
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
        fields = {name: row.get(name) for name in ("answer", "source", "split")}
        return cls(id=row["id"], messages=tuple(messages), row=row, **fields)

    @property
    def extra(self) -> dict[str, Any]:
        """Return the fields that we do not know; rewards and trainers may."""
        return {name: value for name, value in self.row.items() if name not in PromptRow.model_fields}


def answer_text(answer: str | list[str] | None) -> str | None:
    """Return a prompt's answer as one text: several answers as a JSON list."""
    return json.dumps(answer, ensure_ascii=False) if isinstance(answer, list) else answer


class PromptDataset(SampleTable):
    """The prompts of one ingested dataset; not for use by several threads at once."""

    @classmethod
    def open(cls, prompts_parquet: str | Path | BinaryIO) -> PromptDataset:
        """Open the file that `ingest_prompts` wrote; a file object stays in use as long as the dataset does."""
        return cls(pq.ParquetFile(prompts_parquet))

    def prompt(self, row: int) -> Prompt:
        """Return one prompt. Raises IndexError for a row that is not there."""
        return Prompt.of(self.sample_json(row))

    def sample_json(self, row: int) -> dict[str, Any]:
        """Return one prompt as it was uploaded. Raises IndexError for a row that is not there."""
        fields = self._row(row)
        for name in ("prompt", "answer"):
            fields[name] = None if fields[name] is None else json.loads(fields[name])
        fields |= json.loads(fields.pop("extra"))
        return {name: value for name, value in fields.items() if value is not None}

    def without_answer(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Return the ids of the rows that have no answer, in their order."""
        missing = self._samples.read(columns=["answer"])["answer"].is_null().to_numpy()
        return [self.ids[row] for row in rows if missing[row]]
