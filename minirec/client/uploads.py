"""Calls that upload datasets and signals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from minirec.client.core import Call
from minirec.client.parts import FilePart, Part, Rows, open_part

OnProgress = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes in all."""

PART_BYTES = 16 << 20
"""Of a piece, where files are sent in pieces."""
IN_PARTS_BYTES = 4 * PART_BYTES
"""From here on files are sent in pieces, so that a broken connection costs one of them."""
UPLOAD_SECONDS = 900.0
"""How long the service may take to check the rows once it has them."""


@dataclass(frozen=True)
class Upload:
    """The call that uploads files, and the files, which are open until `close`."""

    call: Call
    files: ExitStack
    parts: Mapping[str, FilePart] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.parts.values())

    def chunks(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield the files in pieces: name of the file, number of the piece, content."""
        for name, file in self.parts.items():
            file.seek(0)
            for number, content in enumerate(iter(lambda file=file: file.read(PART_BYTES), b"")):  # type: ignore[misc]
                yield name, number, content

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
    """Open the files of a dataset.

    Args:
        parts: Files, tables or rows by part: `samples` and `items`, or `prompts`.
        name: A name for people.
        metadata: Keys and values that are kept with the dataset.
        on_progress: Called with the bytes sent and the bytes in all.
        timestamp_unit: The unit of the samples' times, if it is not seconds.

    Raises:
        TypeError: The parts do not make a dataset.
        OSError: A file cannot be read.
    """
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


def signals_upload(dataset_id: str, parts: Mapping[str, Part | None], on_progress: OnProgress | None) -> Upload:
    """Open the files of signals. Raises OSError."""
    given = {part: rows for part, rows in parts.items() if rows is not None}
    return open_upload(f"/v1/datasets/{dataset_id}/signals", given, {}, on_progress)


def open_upload(
    path: str, parts: Mapping[str, Part], data: Mapping[str, str | None], on_progress: OnProgress | None
) -> Upload:
    """Open the files that a form is made of. Raises OSError."""
    with ExitStack() as opening:
        unit = data.get("timestamp_unit")
        files = {part: open_part(rows, part, opening, unit) for part, rows in parts.items()}
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
        return Upload(call, opening.pop_all(), files)
