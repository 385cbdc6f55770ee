"""Rows of tables in files: delimited text, JSON lines, Parquet, and Arrow as `save_to_disk` writes it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minirec.data.importers import texts
from minirec.data.importers.errors import SourceError
from minirec.data.importers.values import as_number

if TYPE_CHECKING:
    from minirec.data.importers.sources import File

BATCH_ROWS = 1_024
MAX_CELL = 16 << 20
"""Characters of one cell."""


def columns(file: File) -> tuple[str, ...]:
    """Return the names of a file's columns; empty for a delimited file without a header, and for what is no table."""
    if file.kind == "csv":
        first = next((cells for _, cells in cells_of_text(file.head.splitlines(True), file.delimiter)), [])
        return tuple(name.strip() for name in first) if is_header(first) else ()
    if file.kind == "jsonl":
        return tuple(dict.fromkeys(name for row in islice(_json_rows(file), 50) for name in row[1]))
    if file.kind in ("parquet", "arrow"):
        return tuple(_schema(file))
    if file.kind == "json":
        first_row = next(iter(_json_array(file)), None)
        return tuple(first_row) if first_row is not None else ()
    return ()


def rows(file: File) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (1-based line or row, row) of a table with columns. Raises SourceError."""
    if file.kind == "csv":
        yield from _delimited_rows(file)
    elif file.kind == "jsonl":
        yield from _json_rows(file)
    elif file.kind == "json":
        yield from enumerate(_json_array(file), 1)
    else:
        number = 0
        for path in file.paths:
            for batch in _batches(path, file):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row


def cells(file: File) -> Iterator[tuple[int, list[str]]]:
    """Yield (1-based line, cells) of a delimited file, a header included."""
    lines = (text + "\n" for _, text in texts.lines(file.path))
    yield from cells_of_text(lines, file.delimiter)


def cells_of_text(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (1-based number, cells) of delimited lines; quotes count where cells are separated by one character."""
    if len(delimiter) > 1:
        for number, line in enumerate(lines, 1):
            yield number, line.rstrip("\r\n").split(delimiter)
        return
    csv.field_size_limit(MAX_CELL)
    plain = delimiter in "\t|"
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    try:
        for found in reader:
            if found:
                yield reader.line_num, [_unquoted(cell) for cell in found] if delimiter == "\t" else found
    except csv.Error as error:
        raise SourceError(f"line {reader.line_num} is no row of cells: {error}") from error


def _unquoted(cell: str) -> str:
    """Return a cell of tab-separated text without the quotes that pandas writes around it; others are its text."""
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def is_header(names: list[str]) -> bool:
    """Tell whether a first row names columns: none is a number or comes twice; a data frame's index has no name."""
    bare = [name.strip() for name in names]
    return (
        len(bare) > 0
        and all(bare[1:])
        and len(set(bare)) == len(bare)
        and all(as_number(name) is None for name in bare)
    )


def _delimited_rows(file: File) -> Iterator[tuple[int, dict[str, Any]]]:
    names = list(file.columns)
    found = cells(file)
    next(found, None)
    for number, row in found:
        if len(row) != len(names):
            raise SourceError(f"{file.name}, line {number}: {len(row)} cells, but the header has {len(names)}")
        yield number, dict(zip(names, row, strict=True))


def _json_rows(file: File) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in texts.lines(file.path):
        if (row := texts.parsed(line.strip())) is None:
            raise SourceError(f"{file.name}, line {number}: no JSON object: {line[:80]!r}")
        yield number, row


def _json_array(file: File) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON file that is one array of objects; nothing for any other JSON."""
    if file.head.lstrip().startswith("["):
        for row in file.json():
            if not isinstance(row, dict):
                return
            yield row


def _schema(file: File) -> list[str]:
    """Return the names of the columns of a Parquet or Arrow file."""
    try:
        if file.kind == "parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(file.path).names)
        return list(_arrow(file.path).schema.names)
    except (OSError, ValueError) as error:
        raise SourceError(f"{file.name}: cannot be read: {error}") from error


def _batches(path: Path, file: File) -> Iterator[Any]:
    try:
        if file.kind == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as table:
                yield from table.iter_batches(batch_size=BATCH_ROWS)
        else:
            reader = _arrow(path)
            if hasattr(reader, "num_record_batches"):
                yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
            else:
                yield from reader
    except (OSError, ValueError) as error:
        raise SourceError(f"{file.name}: cannot be read: {error}") from error


def _arrow(path: Path) -> Any:
    """Open an Arrow file or stream, memory-mapped."""
    import pyarrow as pa

    source = pa.memory_map(str(path))
    with path.open("rb") as file:
        framed = file.read(6) == b"ARROW1"
    return pa.ipc.open_file(source) if framed else pa.ipc.open_stream(source)
