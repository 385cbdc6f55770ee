"""Rows of an uploaded file, checked one by one against the models of `api_schemas`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from api_schemas import RowError
from minirec.data.files import FileFault, Limits, detect_kind, read_text, split_lines
from minirec.data.parquet_lines import unpack_parquet

Row = TypeVar("Row", bound=BaseModel)

MAX_ERRORS = 100
_SHOWN_CHARS = 60


class DatasetError(ValueError):
    """An upload that is no whole, clean dataset: the first 100 faults, and how many there are in all."""

    def __init__(self, errors: list[RowError], total: int) -> None:
        first = "; ".join(describe(error) for error in errors[:3])
        more = f" (and {total - 3} more)" if total > 3 else ""
        super().__init__(f"{total} fault{'s' if total != 1 else ''} in the dataset: {first}{more}")
        self.errors = errors
        self.total = total


def describe(error: RowError) -> str:
    """Return one fault as `file:line: field: message`."""
    place = error.file if error.line is None else f"{error.file}:{error.line}"
    return f"{place}: {error.field}: {error.msg}" if error.field else f"{place}: {error.msg}"


class Faults:
    """Collects faults: keeps the first 100, counts them all."""

    def __init__(self) -> None:
        self.errors: list[RowError] = []
        self.total = 0

    def add(self, file: str, line: int | None, field: str | None, msg: str) -> None:
        self.total += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(RowError(file=file, line=line, field=field, msg=msg))


def shown(value: object) -> str:
    """Return a value as it may stand in a message: quoted JSON, cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def read_rows(path: Path, name: str, model: type[Row], faults: Faults, limits: Limits) -> Iterator[tuple[int, Row]]:
    """Yield (1-based line or Parquet row, checked row); what is wrong goes to `faults` under the file's `name`.

    Blank lines are skipped. After a fault of the whole file the iteration ends.
    """
    adapter = TypeAdapter(model)
    count = 0
    try:
        kind = detect_kind(path)
        blocks = unpack_parquet(path, model, limits) if kind == "parquet" else read_text(path, kind, limits)
        for line, raw in split_lines(blocks, limits):
            if not raw or raw.isspace():
                continue
            count += 1
            if count > limits.max_rows:
                raise FileFault(f"more than {limits.max_rows} rows; split the data", line)
            try:
                row = adapter.validate_json(raw)
            except ValidationError as error:
                _add_row_faults(faults, name, line, raw, error)
            else:
                yield line, row
        if count == 0:
            raise FileFault("the file has no rows")
    except FileFault as fault:
        faults.add(name, fault.line, None, fault.msg)


def _add_row_faults(faults: Faults, name: str, line: int, raw: bytes, error: ValidationError) -> None:
    """Add one fault per field, however many of its elements are wrong: one bad list must not crowd out the rest."""
    fields: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        fields.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
    for details in fields.values():
        first = details[0]
        more = f" (and {len(details) - 1} more in this field)" if len(details) > 1 else ""
        faults.add(name, line, _field(first["loc"]), _message(first, raw) + more)


def _field(loc: tuple[int | str, ...]) -> str | None:
    if not loc:
        return None
    if loc[1:2] in (("text",), ("list",)):  # which kind of value it was checked as, and no place
        loc = (loc[0], *loc[2:])
    return str(loc[0]) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])


def _message(detail: dict[str, Any], raw: bytes) -> str:
    kind, text = detail["type"], str(detail["msg"])
    if kind == "json_invalid":
        return _json_message(text, raw)
    if kind == "missing":
        return "the field is missing"
    if kind == "extra_forbidden":
        if len(detail["loc"]) > 1:
            return "unknown field; a message has role and content"
        return "unknown field; a sample has id, history, target, user_id, timestamp, ratings, history_timestamps, split"
    if kind == "too_short":
        return "must not be empty"
    text = text.removeprefix("Value error, ")
    value = detail["input"]
    return f"{text}, got {shown(value)}" if value is None or isinstance(value, str | int | float) else text


def _json_message(text: str, raw: bytes) -> str:
    """Name the broken byte of bad UTF-8; otherwise pydantic's words without its own line number, which is always 1."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return (
            f"not valid UTF-8 at byte {error.start + 1} of the line (0x{raw[error.start]:02x}); save the file as UTF-8"
        )
    return text.replace("Invalid JSON", "not valid JSON").replace("at line 1 column", "at column")
