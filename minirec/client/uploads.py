"""Files of datasets and signals on their way to the service: paths as they are, rows as JSON Lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from minirec.client.core import SPOOL_BYTES, Call

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A JSONL, JSONL.gz or Parquet file, or the rows themselves, which `AsyncMiniRec` reads in a worker thread."""
OnProgress = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes in all."""

UPLOAD_SECONDS = 900.0
"""How long the service may take to check the rows once it has them."""


@dataclass(frozen=True)
class Upload:
    """The call that uploads files, and the files, which are open until `close`."""

    call: Call
    files: ExitStack

    def close(self) -> None:
        """Close the files."""
        self.files.close()


def dataset_upload(
    parts: Mapping[str, Rows | None],
    name: str | None,
    metadata: Mapping[str, str] | None,
    on_progress: OnProgress | None,
    timestamp_unit: str | None = None,
) -> Upload:
    """Open the files of a dataset. Raises TypeError for a wrong set of parts, OSError for a file."""
    given = {part: rows for part, rows in parts.items() if rows is not None}
    if set(given) not in ({"samples", "items"}, {"prompts"}):
        raise TypeError(
            f"a dataset is made of samples and items, or of prompts; given: {', '.join(given) or 'nothing'}"
        )
    data = {
        "name": name,
        "metadata": json.dumps(dict(metadata)) if metadata else None,
        "timestamp_unit": timestamp_unit,
    }
    return open_upload("/v1/datasets", given, data, on_progress)


def signals_upload(dataset_id: str, parts: Mapping[str, Rows | None], on_progress: OnProgress | None) -> Upload:
    """Open the files of signals. Raises OSError."""
    given = {part: rows for part, rows in parts.items() if rows is not None}
    return open_upload(f"/v1/datasets/{dataset_id}/signals", given, {}, on_progress)


def open_upload(
    path: str, parts: Mapping[str, Rows], data: Mapping[str, str | None], on_progress: OnProgress | None
) -> Upload:
    """Open the files that a form is made of. Raises OSError."""
    with ExitStack() as opening:
        files = {part: open_part(rows, part, opening) for part, rows in parts.items()}
        total = sum(file.size for file in files.values())

        def report() -> None:
            if on_progress is not None:
                on_progress(sum(file.sent for file in files.values()), total)

        call = Call(
            "POST",
            path,
            data={key: value for key, value in data.items() if value is not None},
            files={part: (file.name, file) for part, file in files.items()},
            read_timeout=UPLOAD_SECONDS,
            on_chunk=report,
        )
        return Upload(call, opening.pop_all())


def open_part(rows: Rows, part: str, stack: ExitStack) -> FilePart:
    """Open a file, or write rows into one; `stack` closes it."""
    if isinstance(rows, str | os.PathLike):
        path = Path(rows)
        return FilePart(form_name(path), stack.enter_context(path.open("rb")))
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
    stack.callback(spool.close)
    for number, row in enumerate(rows, 1):
        spool.write(encoded(row, f"{part} row {number}"))
    return FilePart(f"{part}.jsonl", spool)


def encoded(row: object, place: str) -> bytes:
    """Return a row as a line of JSON. Raise TypeError or ValueError with its place."""
    if not isinstance(row, Mapping):
        raise TypeError(
            f"{place} is {type(row).__name__}, not a mapping; give a path, or rows such as "
            '{"id": ...} (of a pandas DataFrame: frame.to_dict("records"))'
        )
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{place} cannot be written as JSON: {error}") from error


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
