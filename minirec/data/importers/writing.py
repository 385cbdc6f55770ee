"""Files of a dataset: rows that an upload takes are written, others are left out and counted."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from minirec.api_schemas.messages import explained
from minirec.data.importers.base import Tally
from minirec.data.layouts import Notes, canonical

_LEVEL = 6


class RowWriter:
    """Writes the rows of one file, gzip-compressed, the same bytes for the same rows."""

    def __init__(
        self,
        path: Path,
        model: type[BaseModel],
        tally: Tally,
        *,
        unique: bool = False,
        items: set[str] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            path: Where the rows go.
            model: What they must be.
            tally: Gets what is left out.
            unique: Whether their ids are known to differ.
            items: Gets the ids of the items that are written.
        """
        self._path = path
        self._model = model
        self._adapter: TypeAdapter[BaseModel] = TypeAdapter(model)
        self._tally = tally
        self._ids = None if unique else _Ids(tally)
        self._items = items
        self.count = 0
        """Rows written."""
        self.splits: Counter[str] = Counter()
        """Rows per split; `none` counts those without one."""

    def write(self, rows: Iterable[dict[str, Any]]) -> int:
        """Write rows, and return how many of them there are."""
        with self._path.open("wb") as file, _packed(file) as packed:
            for row in rows:
                if (line := self._line(row)) is not None:
                    packed.write(line + b"\n")
                    self.count += 1
        if self._ids is not None:
            self._ids.note()
        return self.count

    def _line(self, row: dict[str, Any]) -> bytes | None:
        """Return a row as JSON, or count why not and return None."""
        which = str(row.get("id", row.get("item_id", "")))[:80]
        try:
            upload = canonical(row, self._model, Notes())
            self._adapter.validate_python(upload)
            if self._ids is not None:
                row = self._ids.checked(row, upload)
                if not row:
                    return None
            line = orjson.dumps(row)
        except ValidationError as error:
            self._tally.drop(f"row that an upload would refuse: {_fault(error)}", which)
            return None
        except TypeError as error:
            self._tally.drop(f"row that cannot be written: {error}", which)
            return None
        self.splits[upload.get("split") or "none"] += 1
        if self._items is not None:
            self._items.add(upload["item_id"])
        return line


class _Ids:
    """Sees to it that no id comes twice: a row that repeats another goes, one that only has its id gets another."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._seen: dict[str, bytes] = {}
        self._renamed = 0
        self._first = ""

    def checked(self, row: dict[str, Any], upload: dict[str, Any]) -> dict[str, Any]:
        """Return a row, perhaps with another id; empty for one that came before."""
        given = str(upload["id"])
        content = {name: value for name, value in upload.items() if name not in ("id", "extra_info")}
        mark = hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
        name, number = given, 1
        while (known := self._seen.get(name)) is not None:
            if known == mark:
                self._tally.drop("row that came before", given)
                return {}
            number += 1
            name = f"{given}-{number}"
        self._seen[name] = mark
        if name == given:
            return row
        self._renamed += 1
        self._first = self._first or f"{given!r} became {name!r}"
        return {**row, "id": name}

    def note(self) -> None:
        """Note how many rows got another id."""
        if self._renamed:
            self._tally.note(f"{self._renamed:,} rows had the id of another, and got one of their own: {self._first}.")


def _packed(file: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0, filename="")


def _fault(error: ValidationError) -> str:
    """Return the first fault of a row, without what differs from row to row."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, str) and part not in ("text", "list"))
    return f"{place} {explained(first)}" if place else explained(first)
