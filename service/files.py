"""Files on their way to a client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

CHUNK_BYTES = 1 << 20


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """An open file piece by piece, closed in the end."""
    with file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
