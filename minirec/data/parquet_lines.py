"""Uploaded Parquet as JSON lines, unpacked by a child process.

A crafted Parquet file can end the process that reads it (pyarrow turns some broken footers into an abort), and a few
bytes of it can unpack to any size. So a child with a memory limit does the reading, and what it writes passes the
same limits and the same checks as any other uploaded text.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types
from pydantic import BaseModel

from api_schemas.rows import ItemRow, PromptRow, RewardRow, SampleRow
from minirec.data.files import FileFault, Limits

BATCH_ROWS = 1_024
READ_BYTES = 1 << 20
_REFUSED = 3
_MAX_DEPTH = 8
_MODELS: dict[str, type[BaseModel]] = {
    "items": ItemRow,
    "prompts": PromptRow,
    "rewards": RewardRow,
    "samples": SampleRow,
}
_NUMBERS = {"timestamp", "ratings", "history_timestamps", "reward", "ndcg"}
_BOOLEANS = {"hit"}
_LISTS = {"history", "ratings", "history_timestamps", "reward", "ndcg", "hit"}
_TEXTS_OR_LISTS = {"prompt", "answer"}
"""A text, or a list of texts or of a chat's turns: the row check says which."""


def unpack_parquet(path: Path, model: type[BaseModel], limits: Limits) -> Iterator[bytes]:
    """Yield blocks of text, one JSON object per row of the file. Raises FileFault."""
    table = next(name for name, known in _MODELS.items() if known is model)
    bounds = [str(limits.max_rows), str(limits.max_columns), str(limits.max_memory_bytes)]
    command = [sys.executable, "-m", __name__, str(path), table, *bounds]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as child,
    ):
        assert child.stdout is not None
        try:
            while block := child.stdout.read(READ_BYTES):
                yield block
            status = child.wait()
        finally:
            child.kill()
        if status != 0:
            messages.seek(0)
            _raise_for(status, messages.read().decode(errors="replace").strip())


def _raise_for(status: int, messages: str) -> NoReturn:
    if status == _REFUSED:
        raise FileFault(messages.splitlines()[-1])
    if status < 0:
        raise FileFault(
            f"the Parquet file is damaged: it ended its reader by signal {-status}; write and upload it again"
        )
    raise RuntimeError(f"the reader of Parquet files failed with status {status}: {messages}")


def main(path: str, table: str, max_rows: str, max_columns: str, max_memory_bytes: str) -> int:
    """Write the rows of a Parquet file to stdout; return 0, or 3 with the reason as the last line of stderr."""
    # Not every platform can bound memory; Linux, where services run, can.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (int(max_memory_bytes), int(max_memory_bytes)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata, int(max_rows), int(max_columns))
            _check_columns(file.schema_arrow, _MODELS[table])
            _write_rows(file, _MODELS[table])
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


def _check_columns(schema: Any, model: type[BaseModel]) -> None:
    """Raise FileFault that names every column which is missing, unknown or of the wrong type."""
    missing = [name for name, field in model.model_fields.items() if field.is_required() and name not in schema.names]
    faults = [f"column {name} is missing" for name in missing]
    faults += [f"column {name} is there twice" for name in sorted(set(schema.names)) if schema.names.count(name) > 1]
    for column in schema:
        if column.name in model.model_fields:
            if (wanted := _wanted(column.name, column.type)) is not None:
                faults.append(f"column {column.name} has type {column.type}, not {wanted}")
        elif model.model_config.get("extra") == "forbid":
            faults.append(f"column {column.name} is unknown; drop or rename it")
        elif model.model_config.get("extra") == "allow" and not _is_plain(column.type):
            faults.append(f"column {column.name} has type {column.type}; write it as text or number")
    if faults:
        raise FileFault("; ".join(faults[:20]))


def _wanted(name: str, kind: Any) -> str | None:
    """Return the type that a column of a known name should have, or None if it has it (or holds nothing but nulls)."""
    if name in _TEXTS_OR_LISTS:
        right = _is_scalar(kind, "string") or (_is_list(kind) and _is_text_or_turn(kind.value_type))
        return None if right else "string or list of texts or messages"
    wanted = "number" if name in _NUMBERS else "boolean" if name in _BOOLEANS else "string"
    if name in _LISTS:
        right = _is_list(kind) and _is_scalar(kind.value_type, wanted)
        wanted = f"list<{wanted}>"
    else:
        right = _is_scalar(kind, wanted)
    return None if right or types.is_null(kind) else wanted


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


def _is_text_or_turn(kind: Any) -> bool:
    if types.is_struct(kind):
        return all(_is_scalar(field.type, "string") for field in kind)
    return _is_scalar(kind, "string")


def _is_list(kind: Any) -> bool:
    return any(check(kind) for check in (types.is_list, types.is_large_list, types.is_fixed_size_list))


def _is_plain(kind: Any, depth: int = 0) -> bool:
    """Tell whether a column of the catalogue can become JSON."""
    if depth > _MAX_DEPTH:
        return False
    if _is_list(kind):
        return _is_plain(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return all(_is_plain(field.type, depth + 1) for field in kind)
    return _is_scalar(kind, "string") or _is_scalar(kind, "number") or _is_scalar(kind, "boolean")


def _write_rows(file: Any, model: type[BaseModel]) -> None:
    ignores = model.model_config.get("extra") == "ignore"
    columns = [name for name in file.schema_arrow.names if name in model.model_fields] if ignores else None
    # json keeps NaN as NaN, so that the row check can refuse it; faster libraries make it null.
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
    done = 0
    for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise FileFault(f"rows {done + 1} to {done + batch.num_rows} are not valid: {error}") from error
        done += batch.num_rows
        sys.stdout.buffer.writelines(f"{encode(row)}\n".encode() for row in batch.to_pylist())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
