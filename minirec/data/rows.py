"""Rows of an uploaded file, checked one by one against the models of `api_schemas`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from minirec.api_schemas.rows import RewardRow, TimestampUnit
from minirec.data.columns import Columns
from minirec.data.faults import DatasetError, Faults, describe, shown
from minirec.data.files import FileFault, Limits, OnRead, detect_kind, ignored, read_text, split_blocks
from minirec.data.foreign import BOM, not_json_lines, wrapped_rows
from minirec.data.layouts import Notes, canonical, misplaced, similar_name
from minirec.data.parquet_lines import unpack_parquet

__all__ = ["DatasetError", "Faults", "Lines", "describe", "read_chunks", "read_rows", "shown"]

Row = TypeVar("Row", bound=BaseModel)
Quick = TypeVar("Quick")

CHUNK_ROWS = 4_096
"""Lines that are checked together: enough that what is done once per chunk does not count."""
CHUNK_BYTES = 1 << 20
"""Long lines are not waited for."""

_REWARD_TYPES = {
    "list_type": "must be a list with one number per rollout",
    "float_type": "must be a number (0 or 1 for a truth value)",
}
_TYPES = {"list_type": "must be a list", "model_type": "must be an object"}
"""Words of our own for what pydantic says in terms of Python."""


@dataclass(frozen=True)
class Lines:
    """Some lines of a file that are not blank, stripped."""

    numbers: Sequence[int]
    """1-based."""
    texts: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.texts)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield (1-based number, text)."""
        return zip(self.numbers, self.texts, strict=True)


def read_rows(
    path: Path,
    name: str,
    model: type[Row],
    faults: Faults,
    limits: Limits,
    *,
    notes: Notes | None = None,
    timestamp_unit: TimestampUnit | None = None,
    on_read: OnRead = ignored,
) -> Iterator[tuple[int, Row]]:
    """Yield (1-based line or Parquet row, checked row).

    Blank lines are skipped. After a fault of the whole file the iteration ends.

    Args:
        path: the file; JSONL, gzip-compressed JSONL or Parquet, recognised by its content.
        name: what messages call the file.
        model: what its rows must be.
        faults: gets what is wrong.
        limits: bounds on the file.
        notes: counts what was read from a layout of other tools.
        timestamp_unit: the unit that the upload names; columns of datetimes, which have their own, are then refused.
        on_read: called with the bytes read since the last call; may raise to stop.
    """

    def slow(_: Lines | Columns) -> None:
        return None

    return read_chunks(
        path, name, model, faults, limits, slow, notes=notes, timestamp_unit=timestamp_unit, on_read=on_read
    )


def read_chunks(
    path: Path,
    name: str,
    model: type[Row],
    faults: Faults,
    limits: Limits,
    quick: Callable[[Lines | Columns], Quick | None],
    *,
    notes: Notes | None = None,
    timestamp_unit: TimestampUnit | None = None,
    on_read: OnRead = ignored,
) -> Iterator[Quick | tuple[int, Row]]:
    """Yield what `quick` makes of some lines, and as `read_rows` the rows of those of which it makes nothing (None).

    Args:
        path: as the others, see `read_rows`.
        name: what messages call the file.
        model: what its rows must be.
        faults: gets what is wrong.
        limits: bounds on the file.
        quick: checks some lines together; may only take what the model takes.
        notes: counts what was read from a layout of other tools.
        timestamp_unit: the unit that the upload names.
        on_read: see `read_rows`.
    """
    adapter = TypeAdapter(model)
    notes = Notes() if notes is None else notes
    count = 0
    try:
        for part in _chunks(path, model, limits, timestamp_unit, on_read):
            # The first line tells what kind of file it is, and is looked at more closely.
            trusted = isinstance(part, Columns) or count > 0
            if trusted and count + len(part) <= limits.max_rows and (found := quick(part)) is not None:
                count += len(part)
                yield found
                continue
            for line, raw in part.lines():
                count += 1
                if count > limits.max_rows:
                    raise FileFault(f"more than {limits.max_rows} rows; split the data", line)
                if (row := _row(line, raw, name, faults)) is None:
                    continue
                if count == 1 and (msg := misplaced(row, model) or wrapped_rows(row, model)) is not None:
                    raise FileFault(msg)
                row = canonical(row, model, notes)
                try:
                    checked = adapter.validate_python(row)
                except ValidationError as error:
                    _add_row_faults(faults, name, line, row, model, error)
                else:
                    yield line, checked
        if count == 0:
            raise FileFault("the file has no rows")
    except FileFault as fault:
        faults.add(name, fault.line, None, fault.msg)
    faults.merge(count)


def _row(line: int, raw: bytes, name: str, faults: Faults) -> dict[str, Any] | None:
    """Return a line's object, or add a fault and return None."""
    try:
        value = from_json(raw)
    except ValueError as error:
        faults.add(name, line, None, _json_message(str(error), raw), (None, "json"))
        return None
    if not isinstance(value, dict):
        faults.add(name, line, None, f"a row must be an object, got {shown(value)}", (None, "object"))
        return None
    return value


def _chunks(
    path: Path, model: type[BaseModel], limits: Limits, timestamp_unit: TimestampUnit | None, on_read: OnRead
) -> Iterator[Lines | Columns]:
    """Yield the lines of a file that are not blank, the first one alone, or the columns of one that has usual ones.

    Raises FileFault, after what comes before.
    """
    kind = detect_kind(path)
    if kind == "parquet":
        parts = unpack_parquet(path, model, limits, timestamp_unit, on_read)
        for part in parts:
            if isinstance(part, Columns):
                yield part
            else:
                text = chain([part], cast("Iterator[bytes]", parts))
                yield from _gathered(split_blocks(text, limits))
        return
    chunks = _gathered(split_blocks(read_text(path, kind, limits, on_read), limits))
    if (first := next(chunks, None)) is None:
        return
    head = [first]
    try:
        from_json(first.texts[0])
    except ValueError:
        head += [more for more in (next(chunks, None),) if more is not None]
        if (msg := not_json_lines(first.texts[0], head[1].texts[0] if len(head) > 1 else b"")) is not None:
            raise FileFault(msg, first.numbers[0]) from None
    yield from chain(head, chunks)


def _gathered(blocks: Iterator[tuple[int, list[bytes]]]) -> Iterator[Lines]:
    """Yield lines that are not blank, stripped: the first alone, then CHUNK_ROWS together or fewer long ones.

    Raises FileFault as the blocks do, after the lines before it.
    """
    numbers: list[int] = []
    texts: list[bytes] = []
    size = 1
    fault = None
    try:
        for first, lines in blocks:
            stripped = [*map(bytes.strip, lines)]
            numbers += [number for number, text in enumerate(stripped, first) if text]
            texts += filter(None, stripped)
            start = 0
            while start + size <= len(texts):
                end = start + size
                yield Lines(numbers[start:end], texts[start:end])
                start, size = end, CHUNK_ROWS
            if sum(map(len, texts[start:])) >= CHUNK_BYTES:
                yield Lines(numbers[start:], texts[start:])
                start = len(texts)
            del numbers[:start], texts[:start]
    except FileFault as error:
        fault = error
    if texts:
        yield Lines(numbers, texts)
    if fault is not None:
        raise fault


def _add_row_faults(
    faults: Faults, name: str, line: int, row: Mapping[str, Any], model: type[BaseModel], error: ValidationError
) -> None:
    """Add one fault per field, however many of its elements are wrong: one bad list must not crowd out the rest."""
    fields: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False):
        fields.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
    for top, details in fields.items():
        first = details[0]
        more = f" (and {len(details) - 1} more in this field)" if len(details) > 1 else ""
        msg = _message(first, row, model)
        faults.add(name, line, _field(first["loc"]), msg + more, (top, str(first["type"])))


def _field(loc: tuple[int | str, ...]) -> str | None:
    if not loc:
        return None
    if loc[1:2] in (("text",), ("list",)):  # which kind of value it was checked as, and no place
        loc = (loc[0], *loc[2:])
    return str(loc[0]) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])


def _message(detail: Mapping[str, Any], row: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, text = detail["type"], str(detail["msg"])
    if kind == "missing":
        similar = similar_name(str(detail["loc"][0]), row, model) if len(detail["loc"]) == 1 else None
        return "the field is missing or null" + (f"; rename {similar!r} if that is it" if similar else "")
    if kind == "extra_forbidden":
        if len(detail["loc"]) > 1:
            return "unknown field; a message has role and content"
        return f"unknown field; a sample has {', '.join(model.model_fields)}"
    if kind == "too_short":
        return "must not be empty"
    if kind == "too_long":
        return f"has {detail['ctx']['actual_length']} values; at most {detail['ctx']['max_length']} are read"
    if model is RewardRow and kind in _REWARD_TYPES and detail["loc"][0] == "reward":
        return f"{_REWARD_TYPES[kind]}, got {shown(detail['input'])}"
    text = _TYPES.get(kind, text).removeprefix("Value error, ")
    value = detail["input"]
    if kind == "string_type" and detail["loc"][-1] == "content" and isinstance(value, list):
        return 'must be a text, or parts that are all {"type": "text", "text": ...}: pictures and sound are not read'
    return f"{text}, got {shown(value)}" if value is None or isinstance(value, str | int | float) else text


def _json_message(text: str, raw: bytes) -> str:
    """Name what is known to break JSON; otherwise the parser's words without its line number, which is always 1."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return (
            f"not valid UTF-8 at byte {error.start + 1} of the line (0x{raw[error.start]:02x}); save the file as UTF-8"
        )
    text = f"not valid JSON: {text}".replace("at line 1 column", "at column")
    if BOM in raw:
        return f"{text}; a byte-order mark (U+FEFF) is inside the line: were files joined without a line end?"
    if b"}\r{" in raw.replace(b" ", b""):
        return f"{text}; the lines end with carriage returns alone: save them with \\n"
    if raw.startswith((b"{'", b"{u'")):
        return f"{text}; names and texts need double quotes, as `json.dumps` writes them"
    if b"}{" in raw:
        return f"{text}; several objects are on one line: write one per line"
    return text
