"""Arrays of numpy or torch on their way to the service, written as npy without importing either."""

from __future__ import annotations

from typing import IO, Any, Protocol

ALIGNMENT = 64
_BLOCK_ROWS = 4_096


class HasArray(Protocol):
    """An array of numpy, or a tensor of torch."""

    @property
    def shape(self) -> Any:
        """Lengths of its axes."""

    @property
    def dtype(self) -> Any:
        """Kind of its values."""


def is_array(value: object) -> bool:
    """Tell whether a value is an array or tensor."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not hasattr(value, "columns")


def write_npy(value: Any, file: IO[bytes], part: str) -> None:
    """Write an array in the npy format, version 1. Raises TypeError for one of other things than numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    kind = getattr(value, "__array_interface__", {}).get("typestr", "|O")
    if kind[1] not in "biuf":
        raise TypeError(f"{part} is an array of {value.dtype}, not of numbers")
    shape = ", ".join(str(int(length)) for length in value.shape) + ("," if len(value.shape) == 1 else "")
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': ({shape}), }}"
    header += " " * (-(len(header) + 11) % ALIGNMENT) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin-1"))
    for start in range(0, len(value) if value.shape else 1, _BLOCK_ROWS):
        file.write((value[start : start + _BLOCK_ROWS] if value.shape else value).tobytes())
