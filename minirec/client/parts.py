"""What a caller gives for one file of an upload, as a file: paths and addresses as they are, tables as JSON Lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import httpx2

from minirec.client.arrays import HasArray, is_array, write_npy
from minirec.client.core import SPOOL_BYTES
from minirec.frames import columns_of, rows_of


class HasColumns(Protocol):
    """A table of pandas or polars."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""


class HasColumnNames(Protocol):
    """A table of pyarrow or `datasets`."""

    @property
    def column_names(self) -> Any:
        """Names of the columns."""


Table = HasColumns | HasColumnNames | Mapping[str, Any]
Rows = str | os.PathLike[str] | IO[bytes] | IO[str] | Table | Iterable[Mapping[str, Any]]
"""Rows, as any of these; `AsyncMiniRec` reads them in a worker thread.

- a path or http(s) address of a JSONL, JSONL.gz or Parquet file, or such a file, open for reading
- a table: of pandas, polars, pyarrow, `datasets.Dataset`, or a dictionary of columns
- an iterable of mappings, which may hold values of numpy
"""
Array = str | os.PathLike[str] | IO[bytes] | HasArray
"""A path or http(s) address of an npy or safetensors file, such a file, open, or an array of numpy or torch."""
Ids = str | os.PathLike[str] | IO[bytes] | IO[str] | Iterable[str | int]
"""A path or http(s) address of a text with one id per line, such a file, open, or the ids themselves."""
Part = Rows | Array | Ids
ARRAYS = ("vectors", "embeddings")
"""Parts that are arrays."""
MAX_DOWNLOAD = 4 << 30
"""Bytes."""
_TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
_PLAIN = {"Accept-Encoding": "identity"}
_BLOCK = 1 << 20
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def open_part(rows: Part, part: str, stack: ExitStack, timestamp_unit: str | None = None) -> FilePart:
    """Open a file, or write rows into one; `stack` closes it.

    Args:
        rows: What the caller gave.
        part: Name of the file in the upload.
        stack: Closes what was opened here.
        timestamp_unit: The unit of the upload's times, in which datetimes are written; None: seconds.

    Raises:
        OSError: A file cannot be opened, or an address not be downloaded.
        TypeError: It is nothing that has rows, or a row holds what JSON cannot.
        ValueError: A row holds NaN or an infinite number.
    """
    if isinstance(rows, str) and rows.startswith(("http://", "https://")):
        return download(rows, _spool(stack))
    if isinstance(rows, str | os.PathLike):
        path = Path(rows)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; `minirec import {path} -o FOLDER` makes files for an upload")
        return FilePart(form_name(path), stack.enter_context(path.open("rb")))
    if hasattr(rows, "read"):
        return _open_file(rows, part, stack)
    spool = _spool(stack)
    if part == "ids":
        spool.writelines(f"{one}\n".encode() for one in cast(Iterable[Any], rows))
        return FilePart("ids.txt", spool)
    if part in ARRAYS:
        if not is_array(rows):
            raise TypeError(f"{part} is {type(rows).__name__}; give an array (of a data frame: .to_numpy()), or a path")
        write_npy(rows, spool, part)
        return FilePart(f"{part}.npy", spool)
    if columns_of(rows) is None and (isinstance(rows, bytes | bytearray) or not hasattr(rows, "__iter__")):
        raise TypeError(f"{part} is {type(rows).__name__}; give a path, an open file, a table, or rows")
    table = not isinstance(rows, list | tuple) and columns_of(rows) is not None and not _yields_rows(rows)
    found: Iterable[Any] = rows_of(rows) if table else cast(Iterable[Any], rows)
    default = _encoder(part, _PER_SECOND.get(timestamp_unit or "s", 1))
    for number, row in enumerate(found, 1):
        spool.write(encoded(row, f"{part} row {number}", default))
    return FilePart(f"{part}.jsonl", spool)


def _yields_rows(rows: Any) -> bool:
    """Tell whether iteration over a table gives its rows, as with `datasets.Dataset`."""
    return hasattr(rows, "column_names") and not hasattr(rows, "to_batches")


def _spool(stack: ExitStack) -> IO[bytes]:
    """Return a file in memory that moves to disk when it grows; `stack` closes it."""
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
    stack.callback(spool.close)
    return spool


def _open_file(file: Any, part: str, stack: ExitStack) -> FilePart:
    """Copy what is left of an open file, which stays the caller's: it is not closed."""
    given = getattr(file, "name", None)
    name = form_name(Path(given)) if isinstance(given, str) and given else f"{part}.jsonl"
    spool = _spool(stack)
    while block := file.read(_BLOCK):
        spool.write(block.encode() if isinstance(block, str) else block)
    return FilePart(name, spool)


def download(url: str, spool: IO[bytes], *, limit: int = MAX_DOWNLOAD) -> FilePart:
    """Download a file, without the key of the service. Raises OSError, also beyond `limit` bytes."""
    try:
        with httpx2.stream("GET", url, headers=_PLAIN, follow_redirects=True, timeout=_TIMEOUT) as answer:
            if answer.status_code != 200:
                raise OSError(f"{url}: the server answered {answer.status_code} {answer.reason_phrase}")
            if answer.headers.get("content-type", "").startswith("text/html"):
                raise OSError(f"{url}: the server sent a web page, and no file")
            for block in answer.iter_bytes(_BLOCK):
                if spool.tell() + len(block) > limit:
                    raise OSError(f"{url}: larger than {limit:,} bytes; download it and give its path")
                spool.write(block)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise OSError(f"{url}: cannot be downloaded: {str(error) or type(error).__name__}") from error
    return FilePart(form_name(Path(unquote(urlsplit(url).path))) or "download", spool)


def encoded(row: object, place: str, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return a row as a line of JSON; `default` turns values that JSON lacks into such that it has.

    Raise TypeError or ValueError with its place.
    """
    if not isinstance(row, Mapping):
        raise TypeError(
            f"{place} is {type(row).__name__}, not a mapping; give a path, a table with columns, or rows such as "
            '{"id": ...}'
        )
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=default).encode() + b"\n"
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{place} cannot be written as JSON: {error}") from error


def _encoder(part: str, per_second: int) -> Callable[[Any], Any]:
    """Return what turns values of numpy, and dates, into such that JSON has.

    Dates in samples are times since 1970, elsewhere text. Without a zone they are UTC.
    """

    def default(value: Any) -> Any:
        if isinstance(value, date) or hasattr(value, "to_pydatetime"):
            moment = cast(date, value.to_pydatetime() if hasattr(value, "to_pydatetime") else value)
            return _time(moment, per_second) if part == "samples" else moment.isoformat()
        if isinstance(value, Decimal):
            return float(value)
        if hasattr(value, "tolist"):  # numpy's arrays and numbers
            return value.tolist()
        raise TypeError(f"{type(value).__name__} {str(value)[:80]!r} is nothing that JSON has")

    return default


def _time(moment: date, per_second: int) -> float:
    """Return a moment in units since 1970."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * per_second


def form_name(path: Path) -> str:
    """Return a file's name as a form may hold it: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path.name).decode(errors="replace")


class FilePart:
    """A seekable file in a form, so that it can be sent again. Counts what was read.

    Has no `fileno`: the HTTP library would ask for it, and a temporary file in memory would move to disk.
    """

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self.size = file.seek(0, os.SEEK_END)
        """Bytes in the file."""
        self.sent = 0
        """Bytes read since the start."""
        self._file = file
        file.seek(0)

    def read(self, length: int = -1) -> bytes:
        """Read up to `length` bytes."""
        data = self._file.read(length)
        self.sent += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the file, and return it."""
        self.sent = self._file.seek(offset, whence)
        return self.sent

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()
