"""Columns as few bytes: narrow types, then zstd. What is unpacked is what was packed, bit for bit.

A column is stored in the first of these forms that fits it, byte planes apart: all first bytes, all second bytes, ...

- bits, where it holds nothing but 0 and 1
- the steps from row to row, where whole numbers never fall
- a table of its values and their places in it, where they repeat
- whole numbers above the least of them, in as few bytes as they need
- float32, where that is what float64 numbers are
- its bytes
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load

from minirec.store.errors import ColumnsCorruptError

VERSION: Final = 2
_HEADER = struct.Struct("<BIQQ")  # version, CRC-32 of all that follows, rows, bytes of the body before zstd
_OLD_HEADER = struct.Struct("<BIQ")  # version 1: CRC-32 of the body, rows
_LENGTH = struct.Struct("<I")
_ZSTD = pa.Codec("zstd", compression_level=9)
_REPEATS: Final = 4
"""A table pays where each value is there this often."""

Array = npt.NDArray[Any]
Columns = dict[str, np.ndarray[Any, Any]]


def pack(columns: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return columns with the same number of rows as bytes. Raises ValueError."""
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"columns of one shard have {sorted(lengths)} rows; they must agree")
    rows = lengths.pop()
    about, parts = [], []
    for name, values in columns.items():
        form, pieces = _encode(np.ascontiguousarray(values).ravel())
        about.append([name, values.dtype.str, list(values.shape[1:]), form, [[p.dtype.str, p.size] for p in pieces]])
        parts += [_planes(piece) for piece in pieces]
    head = json.dumps(about, separators=(",", ":")).encode()
    body = b"".join([_LENGTH.pack(len(head)), head, *parts])
    frame = _ZSTD.compress(body, asbytes=True)
    crc = zlib.crc32(frame, zlib.crc32(struct.pack("<QQ", rows, len(body))))
    return _HEADER.pack(VERSION, crc, rows, len(body)) + bytes(frame)


def unpack(data: bytes) -> Columns:
    """Return what `pack` packed, or release 0.1. Raises ColumnsCorruptError."""
    if data[:1] == b"\x01":
        return _unpack_old(data)
    if len(data) < _HEADER.size:
        raise ColumnsCorruptError("columns are cut short")
    version, crc, rows, size = _HEADER.unpack_from(data)
    frame = data[_HEADER.size :]
    if version != VERSION:
        raise ColumnsCorruptError(f"columns have format {version}; this version reads 1 and {VERSION}")
    if zlib.crc32(frame, zlib.crc32(struct.pack("<QQ", rows, size))) != crc:
        raise ColumnsCorruptError("columns fail their checksum")
    body = _ZSTD.decompress(frame, size, asbytes=True)
    start = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    columns: Columns = {}
    for name, dtype, shape, form, pieces in json.loads(body[_LENGTH.size : start]):
        parts = []
        for piece_dtype, count in pieces:
            end = start + count * np.dtype(piece_dtype).itemsize
            parts.append(_from_planes(body[start:end], np.dtype(piece_dtype)))
            start = end
        columns[name] = _decode(form, parts, np.dtype(dtype), rows * int(np.prod(shape))).reshape(rows, *shape)
    return columns


def as_shown(values: Array) -> Array:
    """Return measured numbers as results show them: as they are where they repeat, else in float32."""
    if values.dtype != np.float64 or np.unique(values).size * _REPEATS <= values.size:
        return values
    return values.astype(np.float32)


def _encode(values: Array) -> tuple[str, list[Array]]:
    """Return the encoding of a flat column, and the arrays that are stored."""
    kind = values.dtype.kind
    if not values.size:
        return "raw", [values]
    if kind in "biu" and not (values.astype(np.int64) & ~np.int64(1)).any():
        return "bits", [np.packbits(values.astype(np.uint8))]
    if kind in "iu" and values.dtype.itemsize > 1:
        wide = values.astype(np.int64)
        steps = np.diff(wide)
        if steps.size and steps.min() >= 0 and int(wide[-1]) - int(wide[0]) < 2**62:
            return "steps", [wide[:1], _narrow(steps)]
    if values.dtype.itemsize > 1:
        table, places = np.unique(values.view(f"<u{values.dtype.itemsize}"), return_inverse=True)
        if table.size * _REPEATS <= values.size:
            return "table", [table.view(values.dtype), _narrow(places.ravel())]
    if kind in "iu" and values.dtype.itemsize > 1 and int(values.max()) - int(values.min()) < 2**62:
        wide = values.astype(np.int64)
        least = wide.min()
        return "above", [np.array([least]), _narrow(wide - least)]
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        if np.array_equal(_bits(single.astype(np.float64)), _bits(values)):
            return "float32", [single]
    return "raw", [values]


def _decode(form: str, parts: list[Array], dtype: np.dtype[Any], count: int) -> Array:
    if form == "bits":
        return np.unpackbits(parts[0], count=count).astype(dtype)
    if form == "steps":
        return np.concatenate([parts[0], parts[0] + np.cumsum(parts[1], dtype=np.int64)]).astype(dtype)
    if form == "table":
        return np.asarray(parts[0][parts[1]])
    if form == "above":
        return np.asarray(parts[0] + parts[1].astype(np.int64)).astype(dtype)
    return parts[0].astype(dtype, copy=False)


def _narrow(values: Array) -> Array:
    """Whole numbers of at least 0 in the narrowest type."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _bits(values: Array) -> Array:
    return values.view(f"<u{values.dtype.itemsize}")


def _planes(values: Array) -> bytes:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()


def _from_planes(data: bytes, dtype: np.dtype[Any]) -> Array:
    planes = np.frombuffer(data, dtype=np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()


def _unpack_old(data: bytes) -> Columns:
    if len(data) < _OLD_HEADER.size:
        raise ColumnsCorruptError("columns are cut short")
    _, crc, rows = _OLD_HEADER.unpack_from(data)
    body = data[_OLD_HEADER.size :]
    if zlib.crc32(body) != crc:
        raise ColumnsCorruptError("columns fail their checksum")
    try:
        columns = load(body)
    except SafetensorError as error:
        raise ColumnsCorruptError(f"columns cannot be read: {error}") from error
    if any(len(values) != rows for values in columns.values()):
        raise ColumnsCorruptError(f"columns do not have the {rows} rows that they should")
    return columns
