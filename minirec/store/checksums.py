"""Checksums of blobs: bits that flip on a disk or on the way are noticed, and not selected by.

Arrays have theirs in the metadata of their safetensors file. Other files have one beside them, `<name>.crc32`. Blobs of
releases that wrote none are read as they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load, save

Arrays = dict[str, np.ndarray[Any, Any]]

SUFFIX = ".crc32"
_FIELD = "crc32"
_CHUNK = 1 << 20


class ChecksumError(ValueError):
    """Content is not what was written."""


def pack_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return named arrays as a safetensors file with a checksum."""
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    return save(whole, metadata={_FIELD: _of_arrays(whole)})


def unpack_arrays(data: bytes) -> tuple[Arrays, bool]:
    """Return what `pack_arrays` packed, and whether it has a checksum. Raises SafetensorError or ChecksumError."""
    arrays = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, _checked(arrays, header.get("__metadata__"))


def read_arrays(path: Path) -> tuple[Arrays, bool]:
    """Return the same from a file. Raises SafetensorError or ChecksumError."""
    # Opened once: the name may come to be another file's in between.
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return arrays, _checked(arrays, file.metadata())


def read_array(path: Path, name: str) -> np.ndarray[Any, Any]:
    """Return one array of a file that has its checksum beside it. Raises SafetensorError."""
    with safe_open(path, framework="numpy") as file:
        values: np.ndarray[Any, Any] = file.get_tensor(name)
        return values


def of_bytes(content: bytes) -> str:
    """Return the checksum of a content."""
    return f"{zlib.crc32(content):08x}"


def of_file(path: Path) -> str:
    """Return the checksum of a file's content."""
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


def _of_arrays(arrays: Arrays) -> str:
    crc = 0
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        crc = zlib.crc32(f"{name} {values.dtype.str} {values.shape}".encode(), crc)
        crc = zlib.crc32(values.data.cast("B") if values.size else b"", crc)
    return f"{crc:08x}"


def _checked(arrays: Arrays, metadata: Mapping[str, str] | None) -> bool:
    expected = (metadata or {}).get(_FIELD)
    if expected is not None and expected != _of_arrays(arrays):
        raise ChecksumError("the arrays fail their checksum")
    return expected is not None
