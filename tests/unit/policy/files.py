"""Files of models, written by hand: whole ones, and every way to spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "U8": 1, "I32": 4}


def write_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> None:
    """Write a safetensors file of zeros."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = BYTES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


def change_json(path: Path, change: Callable[[dict[str, Any]], Any] | None = None, **fields: Any) -> None:
    """Change fields of a JSON file, or put what `change` returns in its place."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | fields if change is None else change(content)))
