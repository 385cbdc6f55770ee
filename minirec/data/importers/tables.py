"""Rows of tables: delimited text, JSON lines, Parquet, Arrow as `save_to_disk` writes it, and tables in memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
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


def columns_in_memory(table: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a table in memory; None for what is none.

    pandas, polars and pyarrow tables, `datasets.Dataset`, dictionaries of columns, and lists of rows are told by what
    they can do.
    """
    if isinstance(table, str | bytes):
        return None
    if isinstance(table, Mapping):
        return tuple(map(str, table)) if table and all(_is_column(column) for column in table.values()) else None
    names = getattr(table, "column_names", None)  # pyarrow, datasets
    if names is None:
        names = getattr(table, "columns", None)  # pandas, polars
    if names is not None and not callable(names):
        return tuple(str(name) for name in names)
    if isinstance(table, list | tuple) and table and isinstance(table[0], Mapping):
        return tuple(dict.fromkeys(str(name) for row in table[:50] for name in row))
    return None


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "tolist") and hasattr(value, "__len__"))


def rows_in_memory(table: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table in memory, as plain Python values."""
    if hasattr(table, "iter_rows"):  # polars
        yield from table.iter_rows(named=True)
    elif hasattr(table, "to_batches"):  # pyarrow
        yield from chain.from_iterable(batch.to_pylist() for batch in table.to_batches(max_chunksize=BATCH_ROWS))
    elif hasattr(table, "itertuples"):  # pandas
        names = [str(name) for name in table.columns]
        for values in table.itertuples(index=False, name=None):
            yield {name: _plain(value) for name, value in zip(names, values, strict=True)}
    elif isinstance(table, Mapping):
        names = [str(name) for name in table]
        for values in zip(*table.values(), strict=True):
            yield {name: _plain(value) for name, value in zip(names, values, strict=True)}
    else:
        for row in table:
            yield {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Return a value of numpy or pandas as Python has it; a missing one is None."""
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        return None if value != value else float(value)
    if hasattr(value, "to_pydatetime"):
        return None if value != value else value.to_pydatetime()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return None if type(value).__name__ in ("NAType", "NaTType") else value
