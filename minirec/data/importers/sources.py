"""A source: the files and tables that somebody has, and what each of them is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from minirec.data.importers import tables, texts
from minirec.data.importers.errors import SourceError
from minirec.frames import rows_of

Kind = Literal["csv", "jsonl", "json", "parquet", "arrow", "text", "rows", "other"]
TABLES = ("csv", "jsonl", "json", "parquet", "arrow", "rows")
MAX_FILES = 2_000
_SPLITS = {"train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid"}
_SPLITS |= {"dev": "valid", "eval": "valid", "test": "test", "testing": "test"}
_WORD = re.compile(r"[^a-z]+")
_DESCRIPTIONS = ("dataset_dict.json", "dataset_infos.json", "dataset_info.json", "state.json")
_SKIPPED = ("__MACOSX", ".git", "__pycache__", ".cache", ".ipynb_checkpoints")


class Table(Protocol):
    """Anything with named columns."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; empty where there are none."""

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (1-based line or row, row)."""


@dataclass(eq=False)
class File:
    """One file, or the shards of one table."""

    paths: tuple[Path, ...]
    name: str
    """Its name in messages."""
    was_read: bool = False
    """Whether more than its head was asked for."""

    @property
    def path(self) -> Path:
        """Return the file, or the first shard."""
        return self.paths[0]

    @property
    def plain_name(self) -> str:
        """Return the name without folders and without `.gz`, in lower case."""
        return self.name.replace("\\", "/").rsplit("/", 1)[-1].lower().removesuffix(".gz")

    @cached_property
    def head(self) -> str:
        """Return the first 64 KiB of text, unpacked; empty for a file that is no text."""
        return texts.head(self.path)

    @cached_property
    def kind(self) -> Kind:
        """Return what the file is, by its content."""
        return texts.kind_of(self.path, self.head)

    @cached_property
    def delimiter(self) -> str:
        """Return what stands between the cells of a delimited file; empty where there are none."""
        return texts.delimiter_of(self.head) if self.kind == "csv" else ""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns; empty for a delimited file without a header, and for what is no table."""
        return tables.columns(self)

    @cached_property
    def first_row(self) -> dict[str, Any]:
        """Return the first row of a table with columns; empty where there is none."""
        return next((row for _, row in tables.rows(self)), {}) if self.columns else {}

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (1-based line or row, row) of a table with columns."""
        self.was_read = True
        return tables.rows(self)

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (1-based line, cells) of a delimited file, a header included."""
        self.was_read = True
        return tables.cells(self)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield (1-based number, line) of a text, without the line's end."""
        self.was_read = True
        return texts.lines(self.path)

    def json(self) -> Any:
        """Return what one JSON file holds. Raises SourceError."""
        self.was_read = True
        return texts.read_json(self.path, self.name)


@dataclass(frozen=True)
class InMemory:
    """A table that a caller holds."""

    name: str
    columns: tuple[str, ...]
    table: Any
    kind: Kind = "rows"
    delimiter: str = ""
    head: str = ""

    @property
    def plain_name(self) -> str:
        """Return the name in lower case."""
        return self.name.lower()

    @cached_property
    def first_row(self) -> dict[str, Any]:
        """Return the first row."""
        return next((row for _, row in self.rows()), {})

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (1-based row, row)."""
        return enumerate(rows_of(self.table), 1)


@dataclass(frozen=True)
class View:
    """A table under other names for its columns, or made of something else."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[], Iterator[tuple[int, dict[str, Any]]]]

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (1-based row, row)."""
        return self.read()


AnyTable = File | InMemory


@dataclass(frozen=True)
class Source:
    """Everything that is to be imported together."""

    name: str
    """Its name in messages."""
    files: tuple[File, ...] = ()
    held: tuple[InMemory, ...] = ()

    @property
    def tables(self) -> tuple[AnyTable, ...]:
        """Return what has named columns."""
        return (*(file for file in self.files if file.kind in TABLES and file.columns), *self.held)

    def ending(self, *suffixes: str) -> list[File]:
        """Return the files whose names end so, `.gz` aside."""
        return [file for file in self.files if file.plain_name.endswith(suffixes)]


def files_in(path: Path) -> list[File]:
    """Return a file, or the files below a folder in the order of their names; the shards of one table are one file.

    Raises OSError, and SourceError for too many.
    """
    if not path.is_dir():
        with path.open("rb"):
            return [File((path,), path.name)]
    saved = {marker.parent for marker in path.rglob("state.json") if (marker.parent / "dataset_info.json").exists()}
    found: dict[str, list[Path]] = {}
    for each in sorted(path.rglob("*")):
        name = each.relative_to(path)
        if any(part.startswith(".") or part in _SKIPPED for part in name.parts) or not each.is_file():
            continue
        if each.name in _DESCRIPTIONS:
            continue
        if each.parent not in saved:
            found[str(name)] = [each]
        elif each.suffix == ".arrow":
            folder = str(name.parent)
            found.setdefault(path.name if folder == "." else folder, []).append(each)
        if len(found) > MAX_FILES:
            raise SourceError(f"{path} has more than {MAX_FILES:,} files; give the folder of one data set")
    return [File(tuple(paths), name) for name, paths in found.items()]


def split_of(name: str) -> str | None:
    """Return the split that the name of a file or of a part says, if it says one."""
    words = _WORD.split(name.lower())
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), None)
