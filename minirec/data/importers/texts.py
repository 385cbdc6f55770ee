"""Text files as they come: gzipped or not, UTF-8 or Latin-1, delimited, JSON, JSON lines or plain."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

import orjson

from minirec.data.importers.errors import SourceError
from minirec.data.importers.values import literal

HEAD_BYTES = 1 << 16
MAX_LINE_BYTES = 16 << 20
MAX_TEXT_BYTES = 64 << 30
"""Bytes after decompression: reviews of one Amazon category have 40 GB."""
MAX_JSON_BYTES = 2 << 30
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
DELIMITERS = ("::", "\t", ",", ";", "|")


def is_gzip(path: Path) -> bool:
    """Tell whether a file is gzip-compressed, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, unpacked if it is gzip-compressed. Raises OSError."""
    return cast(IO[bytes], gzip.open(path)) if is_gzip(path) else path.open("rb")


def head(path: Path) -> str:
    """Return the first 64 KiB of a text, unpacked; empty for a binary file. Raises SourceError."""
    try:
        with open_bytes(path) as file:
            data = file.read(HEAD_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path.name}: the gzip stream is damaged ({error}); download it again") from error
    if data.startswith(UTF_16):
        return data.decode("utf-16", errors="ignore")
    if b"\0" in data:
        return ""
    whole, newline, _ = data.rpartition(b"\n")
    return decoded(whole if newline and len(data) == HEAD_BYTES else data)


def decoded(data: bytes) -> str:
    """Return text from UTF-8, with or without a mark, or else from Latin-1, as MovieLens writes it."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def kind_of(path: Path, text: str) -> Literal["csv", "jsonl", "json", "parquet", "arrow", "text", "other"]:
    """Return what a file is, by its content; `text` is its head."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start == b"ARROW1" or start.startswith(b"\xff\xff\xff\xff"):
        return "arrow"
    shown = text.lstrip()
    if not shown:
        return "other"
    if shown[0] in "[{":
        first = shown.split("\n", 1)[0].strip()
        return "jsonl" if shown[0] == "{" and (parsed(first) is not None or _is_cut(shown)) else "json"
    return "csv" if delimiter_of(text) else "text"


def _is_cut(shown: str) -> bool:
    """Tell whether the head ends within its first line, which then is a row and not a file."""
    return "\n" not in shown and len(shown) > HEAD_BYTES // 2


def parsed(line: str) -> dict[str, Any] | None:
    """Return a line's JSON object, or the Python literal that Amazon's older files have; None for anything else."""
    try:
        value = orjson.loads(line)
    except ValueError:
        value = literal(line) if line.startswith("{") else None
    return value if isinstance(value, dict) else None


def delimiter_of(text: str) -> str:
    """Return what stands between the cells of a delimited text: the same number of times in its first lines, or ""."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if len(lines) > 1 and len(text) >= HEAD_BYTES // 2:
        lines = lines[:-1] or lines
    if not lines:
        return ""
    for delimiter in DELIMITERS:
        if delimiter in lines[0] and all(delimiter in line for line in lines[: 1 if '"' in text else None]):
            return delimiter
    return ""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (1-based number, line) without the line's end; blank lines are skipped. Raises SourceError."""
    total = 0
    try:
        with open_bytes(path) as probe:
            wide = probe.read(2) in UTF_16
        with open_bytes(path) as raw:
            source: Iterable[Any] = codecs.getreader("utf-16")(raw) if wide else raw
            for number, line in enumerate(source, 1):
                total += len(line)
                if len(line) > MAX_LINE_BYTES or total > MAX_TEXT_BYTES:
                    raise SourceError(f"{path.name}, line {number}: longer than the import reads; split the file")
                text = line if isinstance(line, str) else decoded(line)
                if text := text.rstrip("\r\n"):
                    yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path.name}: the gzip stream is damaged ({error}); download it again") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: not UTF-16 as its first bytes say ({error.reason})") from error


def read_json(path: Path, name: str) -> Any:
    """Return what one JSON file holds. Raises SourceError."""
    with open_bytes(path) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise SourceError(f"{name}: larger than {MAX_JSON_BYTES >> 30} GiB; write one object per line instead")
    try:
        return orjson.loads(data.removeprefix(codecs.BOM_UTF8))
    except ValueError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{name}: not JSON: {error}") from error
