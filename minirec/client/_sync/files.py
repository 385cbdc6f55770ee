# Generated from ../_async by scripts/unasync.py. Do not edit.
"""Files that downloads are written to."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from minirec.client.core import SPOOL_BYTES


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` once it is complete; a broken download leaves nothing."""
    scratch = path.with_name(f".{uuid.uuid4().hex[:8]}.part")
    file: IO[bytes] = scratch.open("wb")
    try:
        yield file
        file.close()
        scratch.replace(path)
    finally:
        file.close()
        scratch.unlink(missing_ok=True)


@contextmanager
def spool() -> Iterator[IO[bytes]]:
    """Open a file for what passes through: in memory while it is small, then on disk."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
    try:
        yield file
    finally:
        file.close()
