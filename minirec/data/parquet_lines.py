"""Uploaded Parquet, unpacked by a child process.

A crafted Parquet file can end the process that reads it (pyarrow turns some broken footers into an abort), and a few
bytes of it can unpack to any size. So a child with a memory limit does the reading. Samples in columns of usual types
come from it in batches of bounded size; all else as JSON lines, which pass the same limits as any other uploaded text.
"""

from __future__ import annotations

import contextlib
import fcntl
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types
from pydantic import BaseModel

from minirec.api_schemas.rows import SampleRow, TimestampUnit
from minirec.data.columns import COLUMNS, Columns, are_usual, encode, refilled, to_columns
from minirec.data.files import FileFault, Limits, OnRead, ignored
from minirec.data.layouts import PARTS, is_index_column, misplaced, missing_fields, part_of, similar_name
from minirec.data.tables import GROUP_ROWS

BATCH_ROWS = 1_024
COLUMNS_BYTES = 4 << 20
"""What rows may take that are checked column by column at once, unless a single one takes more."""
READ_BYTES = 1 << 20
_COLUMNS, _LINES = "columns", "lines"
_REFUSED = 3
_MAX_DEPTH = 8
_TIMES = ("timestamp", "history_timestamps")
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def unpack_parquet(
    path: Path,
    model: type[BaseModel],
    limits: Limits,
    timestamp_unit: TimestampUnit | None,
    on_read: OnRead = ignored,
) -> Iterator[bytes | Columns]:
    """Yield blocks of text with one JSON object per row of the file, or its rows as columns, never both.

    Raises FileFault.

    Times that are datetimes become seconds since 1970; with a `timestamp_unit` they are refused.

    Args:
        path: The file.
        model: What its rows must be.
        limits: Bounds on the file.
        timestamp_unit: The unit that the upload names.
        on_read: Hears of the file's bytes in proportion to its rows.
    """
    bounds = [str(limits.max_rows), str(limits.max_columns), str(limits.max_memory_bytes)]
    command = [sys.executable, "-m", __name__, str(path), part_of(model), timestamp_unit or "", *bounds]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as child,
    ):
        assert child.stdout is not None
        # One block is written while the other is read. Where pipes cannot grow, they take turns.
        with contextlib.suppress(AttributeError, OSError):
            fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, READ_BYTES)
        size = path.stat().st_size
        try:
            rows, _, way = child.stdout.readline().decode().strip().partition(" ")
            done = told = 0
            for part in (_read_columns if way == _COLUMNS else _read_text)(child.stdout, limits):
                done += len(part) if isinstance(part, Columns) else part.count(b"\n")
                on_read(size * done // int(rows) - told)
                told = size * done // int(rows)
                yield part
            status = child.wait()
        except pa.ArrowException:
            if (status := child.wait()) == 0:
                raise
        finally:
            child.kill()
        if status != 0:
            messages.seek(0)
            _raise_for(status, messages.read().decode(errors="replace").strip())


def _read_text(stream: IO[bytes], _: Limits) -> Iterator[bytes]:
    while block := stream.read(READ_BYTES):
        yield block


def _read_columns(stream: IO[bytes], limits: Limits) -> Iterator[Columns]:
    first, total = 1, 0
    with pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            total += batch.nbytes
            if batch.num_rows == 1 and batch.nbytes > limits.max_line_bytes:
                raise FileFault(f"longer than {limits.max_line_bytes} bytes, too long for one row", first)
            if total > limits.max_bytes:
                raise FileFault(f"more than {limits.max_bytes} bytes; split the data", first)
            yield Columns(first, batch)
            first += batch.num_rows


def _raise_for(status: int, messages: str) -> NoReturn:
    if status == _REFUSED:
        raise FileFault(messages.splitlines()[-1])
    if status < 0:
        raise FileFault(
            f"the Parquet file is damaged: it ended its reader by signal {-status}; write and upload it again"
        )
    raise RuntimeError(f"the reader of Parquet files failed with status {status}: {messages}")


def main(path: str, part: str, timestamp_unit: str, max_rows: str, max_columns: str, max_memory_bytes: str) -> int:
    """Write the rows of a Parquet file to stdout, below a line with their number and the way that they come.

    Args:
        path: the file.
        part: what it is a part of an upload as, a key of `PARTS`.
        timestamp_unit: the unit that the upload names for its times, or nothing.
        max_rows: see `Limits`, as the others.
        max_columns: of the file.
        max_memory_bytes: address space of this process.

    Returns:
        The exit status: 0, or 3 with the reason as the last line of stderr.
    """
    # Not every platform can bound memory; Linux, where services run, can.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (int(max_memory_bytes), int(max_memory_bytes)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata, int(max_rows), int(max_columns))
            _check_columns(file.schema_arrow, PARTS[part], timestamp_unit)
            _write(file, PARTS[part])
    except FileFault as fault:
        reason = fault.msg
    except MemoryError:
        reason = f"unpacking takes more than {max_memory_bytes} bytes of memory; write smaller row groups"
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = f"the Parquet file is damaged or cut short ({' '.join(str(error).split())}); write and upload it again"
    else:
        return 0
    print(reason, file=sys.stderr)  # noqa: T201 - this is how the child answers
    return _REFUSED


def _check_size(metadata: Any, max_rows: int, max_columns: int) -> None:
    if metadata.num_rows > max_rows:
        raise FileFault(f"{metadata.num_rows} rows, more than {max_rows}; split the data")
    if metadata.num_columns > max_columns:
        raise FileFault(f"{metadata.num_columns} columns, more than {max_columns}")


def _check_columns(schema: Any, model: type[BaseModel], timestamp_unit: str) -> None:
    """Raise FileFault that names every column which is missing, there twice, or of a type that JSON does not have.

    Whether values have the right type is for the row check to say, as for JSONL.
    """
    if (msg := misplaced(schema.names, model)) is not None:
        raise FileFault(msg)
    faults = []
    for name in missing_fields(schema.names, model):
        similar = similar_name(name, schema.names, model)
        faults.append(f"column {name} is missing" + (f"; rename {similar!r} if that is it" if similar else ""))
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    faults += [f"column {name} is there twice" for name in sorted(twice)]
    for name in _columns_read(schema, model):
        if name in twice:
            continue
        kind = schema.field(name).type
        if _is_time(name, kind):
            if timestamp_unit:
                faults.append(f"column {name} holds datetimes, which have their unit; leave timestamp_unit out")
        elif not _is_plain(kind):
            known = name in model.model_fields or model.model_config.get("extra") == "allow"
            advice = f"has type {kind}; write it as text or number" if known else "is unknown; drop or rename it"
            faults.append(f"column {name} {advice}")
    if faults:
        raise FileFault("; ".join(faults[:20]))


def _columns_read(schema: Any, model: type[BaseModel]) -> list[str]:
    """Return the columns whose values become JSON: those that the row check can have something to say about."""
    ignores = model.model_config.get("extra") == "ignore"
    names = dict.fromkeys(schema.names)
    return [name for name in names if not is_index_column(name) and (name in model.model_fields or not ignores)]


def _is_time(name: str, kind: Any) -> bool:
    """Tell whether a column has our times as datetimes."""
    return name in _TIMES and types.is_timestamp(kind.value_type if _is_list(kind) else kind)


def _is_scalar(kind: Any, wanted: str) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    if wanted == "string":
        return any(
            check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
        )
    if wanted == "boolean":
        return any(check(kind) for check in (types.is_boolean, types.is_null))
    return any(check(kind) for check in (types.is_integer, types.is_floating, types.is_null))


def _is_list(kind: Any) -> bool:
    return any(check(kind) for check in (types.is_list, types.is_large_list, types.is_fixed_size_list))


def _is_plain(kind: Any, depth: int = 0) -> bool:
    """Tell whether a column can become JSON."""
    if depth > _MAX_DEPTH:
        return False
    if _is_list(kind):
        return _is_plain(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return all(_is_plain(field.type, depth + 1) for field in kind)
    return _is_scalar(kind, "string") or _is_scalar(kind, "number") or _is_scalar(kind, "boolean")


def _write(file: Any, model: type[BaseModel]) -> None:
    names = _columns_read(file.schema_arrow, model)
    # What the file's columns are once their datetimes are seconds.
    schema = _with_seconds(file.schema_arrow.empty_table().select(names)).schema
    usual = model is SampleRow and are_usual(schema)
    way = _COLUMNS if usual else _LINES
    sys.stdout.buffer.write(f"{file.metadata.num_rows} {way}\n".encode())
    if not usual:
        for batch in _batches(file, names, BATCH_ROWS):
            sys.stdout.buffer.writelines(f"{encode(row)}\n".encode() for row in batch.to_pylist())
        return
    groups = (file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
    fitting = COLUMNS_BYTES * file.metadata.num_rows // max(1, sum(groups))
    with pa.ipc.new_stream(sys.stdout.buffer, COLUMNS) as stream:
        for batch in _batches(file, names, min(GROUP_ROWS, max(1, fitting))):
            for part in _bounded(to_columns(batch)):
                stream.write_batch(part)


def _batches(file: Any, columns: list[str], rows: int) -> Iterator[Any]:
    """Yield some rows at once, their times in seconds. Raises FileFault for those that are not valid."""
    done = 0
    for batch in file.iter_batches(rows, columns=columns, use_threads=False):
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise FileFault(f"rows {done + 1} to {done + batch.num_rows} are not valid: {error}") from error
        done += batch.num_rows
        yield _with_seconds(batch)


def _bounded(batch: Any) -> Iterator[Any]:
    if batch.nbytes <= COLUMNS_BYTES or batch.num_rows == 1:
        yield batch
    else:
        half = batch.num_rows // 2
        yield from _bounded(batch.slice(0, half))
        yield from _bounded(batch.slice(half))


def _with_seconds(rows: Any) -> Any:
    """Return a batch, or a table, whose times are numbers of seconds where they were datetimes."""
    for name in _TIMES:
        index = rows.schema.get_field_index(name)
        if index >= 0 and _is_time(name, rows.schema.field(index).type):
            rows = rows.set_column(index, name, _seconds(rows.column(index)))
    return rows


def _seconds(column: Any) -> Any:
    """Return datetimes, or lists of them, as float64."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not _is_list(column.type):
        return _divided(column.cast(pa.int64()), _PER_SECOND[column.type.unit])
    return refilled(column, _divided(column.flatten().cast(pa.int64()), _PER_SECOND[column.type.value_type.unit]))


def _divided(ticks: Any, per_second: int) -> Any:
    """Return integers divided, each rounded once: nanoseconds of today are beyond what float64 holds exactly."""
    return pa.array([None if tick is None else tick / per_second for tick in ticks.to_pylist()], pa.float64())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
