"""Uploaded files as bounded streams: what kind of file it is, and its lines, without ever holding the whole text."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minirec.data.foreign import BOM, HEAD_BYTES, foreign_kind

OnRead = Callable[[int], None]
"""Called with the bytes of a file that were read since the last call; may raise to stop."""

READ_BYTES = 1 << 16
UNPACK_BYTES = 1 << 20
RATIO_FREE_BYTES = 16 << 20
"""Up to here any compression ratio is fine: small repetitive files are no bombs."""


@dataclass(frozen=True)
class Limits:
    """How big an uploaded file may be; each bound holds for the samples and the catalogue alike."""

    max_rows: int = 5_000_000
    max_bytes: int = 4 << 30
    """Bytes after decompression."""
    max_ratio: int = 100
    """Bytes after decompression per compressed byte."""
    max_line_bytes: int = 4 << 20
    max_columns: int = 1_000
    """Of a Parquet file."""
    max_memory_bytes: int = 4 << 30
    """Address space of the process that unpacks a Parquet file."""


DEFAULT_LIMITS = Limits()


class FileFault(ValueError):
    """A fault after which the rest of a file cannot be read; `line` is None when it has no line."""

    def __init__(self, msg: str, line: int | None = None) -> None:
        super().__init__(msg)
        self.msg = msg
        self.line = line


def detect_kind(path: Path) -> Literal["gzip", "parquet", "text"]:
    """Tell the kind of a file by its first bytes, whatever its name. Raises FileFault for an empty or foreign file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise FileFault("the file is empty")
    if (kind := foreign_kind(head)) is not None:
        raise FileFault(f"the file is {kind}; send JSONL (in UTF-8), gzip-compressed JSONL or Parquet")
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "parquet" if head.startswith(b"PAR1") else "text"


def ignored(_: int) -> None:
    """Take no notice of what is read."""


def read_text(path: Path, kind: Literal["gzip", "text"], limits: Limits, on_read: OnRead = ignored) -> Iterator[bytes]:
    """Yield blocks of the text of a file, plain or gzip, without a byte-order mark. Raises FileFault."""
    blocks = _gunzip(path, limits, on_read) if kind == "gzip" else _blocks(path, on_read)
    if (first := next(blocks, None)) is not None:
        yield _check_start(first)
        yield from blocks


def split_blocks(blocks: Iterator[bytes], limits: Limits) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (1-based number of the first, lines without newlines and without byte-order marks at their starts).

    Files that were joined have such marks in the middle. Raises FileFault where a limit is passed, after the lines
    before that.
    """
    number, rest, total = 1, b"", 0
    for block in blocks:
        total += len(block)
        if total > limits.max_bytes:
            raise FileFault(f"more than {limits.max_bytes} bytes of text; split the data", number)
        lines = (rest + block).split(b"\n")
        if max(map(len, lines)) > limits.max_line_bytes:
            long = next(place for place, line in enumerate(lines) if len(line) > limits.max_line_bytes)
            yield number, _without_marks(lines[:long])
            raise FileFault(f"longer than {limits.max_line_bytes} bytes, too long for one row", number + long)
        rest = lines.pop()
        yield number, _without_marks(lines)
        number += len(lines)
    if rest:
        yield number, _without_marks([rest])


def split_lines(blocks: Iterator[bytes], limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Yield (1-based number, line), as `split_blocks` splits."""
    for first, lines in split_blocks(blocks, limits):
        yield from enumerate(lines, first)


def _without_marks(lines: list[bytes]) -> list[bytes]:
    return [line.removeprefix(BOM) for line in lines]


def _check_start(block: bytes) -> bytes:
    """Return the first block without a byte-order mark. Raises FileFault where it is no JSONL at all."""
    block = block.removeprefix(BOM)
    if block.startswith(b"PAR1"):
        raise FileFault("a Parquet file inside gzip; send the Parquet file itself, it is compressed already")
    if block.startswith(b"\x1f\x8b"):
        raise FileFault("gzip inside gzip: it was compressed twice; unpack it once (`gunzip`) and send that")
    if (kind := foreign_kind(block[:HEAD_BYTES])) is not None:
        raise FileFault(f"the text inside gzip is {kind}; send JSONL (in UTF-8), gzip-compressed JSONL or Parquet")
    if b"\0" in block:
        raise FileFault("not UTF-8 text: it holds zero bytes, as UTF-16 or a binary file does; send UTF-8 JSONL")
    if block.lstrip().startswith(b"["):
        raise FileFault("starts with '[': one JSON array for the whole file; write one object per line instead", 1)
    return block


def _blocks(path: Path, on_read: OnRead) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            on_read(len(block))
            yield block


def _gunzip(path: Path, limits: Limits, on_read: OnRead) -> Iterator[bytes]:
    """Yield blocks of at most UNPACK_BYTES from a gzip file of one or more members."""
    stream = zlib.decompressobj(wbits=31)
    taken = given = 0
    try:
        for block in _blocks(path, on_read):
            taken += len(block)
            while block:
                if stream.eof:
                    block = block.lstrip(b"\0")  # zero padding between and after members is allowed
                    if not block:
                        break
                    stream = zlib.decompressobj(wbits=31)
                text = stream.decompress(block, UNPACK_BYTES)
                block = stream.unused_data if stream.eof else stream.unconsumed_tail
                given += len(text)
                if given > max(RATIO_FREE_BYTES, limits.max_ratio * taken):
                    raise FileFault(f"unpacks to more than {limits.max_ratio} times its size: refused as a gzip bomb")
                if text:
                    yield text
        while not stream.eof and (text := stream.decompress(stream.unconsumed_tail, UNPACK_BYTES)):
            yield text
    except zlib.error as error:
        raise FileFault(f"the gzip stream is damaged after {given} bytes of text ({error}); upload it again") from error
    if not stream.eof:
        raise FileFault(f"the gzip file was cut short after {given} bytes of text; upload it again")
