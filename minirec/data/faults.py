"""Faults of an uploaded file: collected with file, line and field, and worded for the person who wrote the file."""

from __future__ import annotations

import json
from collections import Counter

from minirec.api_schemas import RowError

MAX_ERRORS = 100
_SHOWN_CHARS = 60

Kind = tuple[str | None, str]
"""Field and type of a fault: the same in every row where the same thing went wrong."""


class DatasetError(ValueError):
    """An upload that is no whole, clean dataset: the first 100 faults, and how many there are in all."""

    def __init__(self, errors: list[RowError], total: int) -> None:
        first = "; ".join(describe(error) for error in errors[:3])
        more = f" (and {total - 3} more)" if total > 3 else ""
        super().__init__(f"{total} fault{'s' if total != 1 else ''} in the dataset: {first}{more}")
        self.errors = errors
        self.total = total

    def __reduce__(self) -> tuple[type[DatasetError], tuple[list[RowError], int]]:
        """Pickle what it is made from: the service checks large uploads in another process."""
        return type(self), (self.errors, self.total)


def describe(error: RowError) -> str:
    """Return one fault as `file:line: field: message`."""
    place = error.file if error.line is None else f"{error.file}:{error.line}"
    return f"{place}: {error.field}: {error.msg}" if error.field else f"{place}: {error.msg}"


def shown(value: object) -> str:
    """Return a value as it may stand in a message: quoted JSON, cut to 60 characters; 5.0 is 5, as in a row."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


class Faults:
    """Collects faults: keeps the first 100, counts them all."""

    def __init__(self) -> None:
        self.errors: list[RowError] = []
        self.total = 0
        self._kinds: list[Kind | None] = []
        """Kind of each kept error, where it has one."""
        self._first: dict[Kind, RowError] = {}
        self._count: Counter[Kind] = Counter()

    def add(self, file: str, line: int | None, field: str | None, msg: str, kind: Kind | None = None) -> None:
        """Add a fault.

        Args:
            file: Name of the file, as the client knows it.
            line: 1-based; None for a fault of the whole file.
            field: Path of the field, such as `history[1]`; None for a fault of the whole row.
            msg: What is wrong, and what is expected.
            kind: Lets `merge` put together the faults that most rows of a file share.
        """
        error = RowError(file=file, line=line, field=field, msg=msg)
        self.total += 1
        if kind is not None:
            self._first.setdefault(kind, error)
            self._count[kind] += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)
            self._kinds.append(kind)

    def merge(self, rows: int) -> None:
        """Merge each kind of fault that more than half of a file's `rows` have into its first one.

        Called at the end of every file: a wrong column name is one fault of the file, not one of every line.
        """
        for kind, count in self._count.items():
            if count < 2 or 2 * count <= rows:
                continue
            first = self._first[kind]
            more = f"{count - 1} more row{'s' if count > 2 else ''}"
            merged = first.model_copy(update={"msg": f"{first.msg} (the same in {more})"})
            kept = [
                (error, k) for error, k in zip(self.errors, self._kinds, strict=True) if k != kind or error is first
            ]
            if not any(error is first for error, _ in kept):
                kept = kept[: MAX_ERRORS - 1] + [(first, kind)]
            self.errors = [merged if error is first else error for error, _ in kept]
            self._kinds = [k for _, k in kept]
            self.total -= count - 1
        self._kinds = [None] * len(self.errors)
        self._first.clear()
        self._count.clear()
