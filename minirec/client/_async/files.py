"""Files that downloads are written to."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from minirec.client.core import SPOOL_BYTES
from minirec.client.threads import in_thread


@asynccontextmanager
async def replacing(path: Path) -> AsyncIterator[IO[bytes]]:
    """Open a file that takes the place of `path` once it is complete; a broken download leaves nothing."""
    scratch = path.with_name(f".{uuid.uuid4().hex[:8]}.part")
    file: IO[bytes] = await in_thread(scratch.open, "wb")
    try:
        yield file
        await in_thread(file.close)
        await in_thread(scratch.replace, path)
    finally:
        await in_thread(file.close)
        await in_thread(scratch.unlink, missing_ok=True)


@asynccontextmanager
async def spool() -> AsyncIterator[IO[bytes]]:
    """Open a file for what passes through: in memory while it is small, then on disk."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
    try:
        yield file
    finally:
        await in_thread(file.close)
