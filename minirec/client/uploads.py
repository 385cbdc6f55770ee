"""Files of datasets and signals on their way to the service: paths as they are, rows as JSON Lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from minirec.client.core import SPOOL_BYTES, Call

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A JSONL, JSONL.gz or Parquet file, or the rows themselves."""
OnProgress = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes in all."""

UPLOAD_SECONDS = 900.0
"""How long the service may take to check the rows once it has them."""


@contextmanager
def dataset_upload(
    parts: Mapping[str, Rows | None],
    name: str | None,
    metadata: Mapping[str, str] | None,
    on_progress: OnProgress | None,
    timestamp_unit: str | None = None,
) -> Iterator[Call]:
    """The call that uploads a dataset; its files are open as long as the context is. Raises TypeError."""
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
    with _upload("/v1/datasets", given, data, on_progress) as call:
        yield call


@contextmanager
def signals_upload(dataset_id: str, parts: Mapping[str, Rows | None], on_progress: OnProgress | None) -> Iterator[Call]:
    """The call that uploads signals; its files are open as long as the context is."""
    given = {part: rows for part, rows in parts.items() if rows is not None}
    with _upload(f"/v1/datasets/{dataset_id}/signals", given, {}, on_progress) as call:
        yield call


@contextmanager
def _upload(
    path: str, parts: Mapping[str, Rows], data: Mapping[str, str | None], on_progress: OnProgress | None
) -> Iterator[Call]:
    with ExitStack() as stack:
        files = {part: stack.enter_context(opened(rows, part)) for part, rows in parts.items()}
        total = sum(size(file) for _, file in files.values())
        sent = dict.fromkeys(files, 0)

        def report(part: str, position: int) -> None:
            sent[part] = position
            if on_progress is not None:
                on_progress(sum(sent.values()), total)

        yield Call(
            "POST",
            path,
            data={key: value for key, value in data.items() if value is not None},
            files={part: (title, Watched(file, part, report)) for part, (title, file) in files.items()},
            read_timeout=UPLOAD_SECONDS,
        )


@contextmanager
def opened(rows: Rows, part: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The file's name and its bytes, seekable, so that an upload can be sent again."""
    if isinstance(rows, str | os.PathLike):
        path = Path(rows)
        with path.open("rb") as file:
            yield path.name, file
        return
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        for row in rows:
            spool.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        spool.seek(0)
        yield f"{part}.jsonl", spool


def size(file: IO[bytes]) -> int:
    """Bytes in a seekable file, which is left at its start."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    return end


class Watched:
    """A file that tells how far it has been read."""

    def __init__(self, file: IO[bytes], part: str, report: Callable[[str, int], None]) -> None:
        self.file = file
        self.part = part
        self.report = report

    def read(self, length: int = -1) -> bytes:
        data = self.file.read(length)
        if data:
            self.report(self.part, self.file.tell())
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()
