"""The files of a model folder, checked before a library reads them. Imports no torch.

A file that is a Git LFS pointer, cut off, not readable or of the wrong kind is named here, with what to do about it;
libraries say "invalid header" or "expecting value".
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from minirec.policy.errors import ModelRefused

MODEL_FILES = [
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "tokenizer.model.*",
    "*.spm",
    "*.bpe",
    "*.tiktoken",
]
"""What makes a model: weights, configurations and tokenizer files. Nothing else is fetched from the hub."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MAX_JSON_BYTES = 64 * 1024**2
"""Largest JSON file that is read; the weight index of a model with 10^12 parameters has 20 MB."""
MAX_TOKENIZER_BYTES = 128 * 1024**2
"""Largest `tokenizer.json`, which only its own library reads; that of Gemma 3 has 33 MB."""
MAX_TEMPLATE_BYTES = 1024**2
MAX_HEADER_BYTES = 32 * 1024**2
"""Largest header of a safetensors file."""
DICTIONARIES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "model.safetensors.index.json",
        "adapter_config.json",
        "chat_template.json",
    }
)
"""JSON files that have to hold an object."""


@dataclass(frozen=True)
class Tensors:
    """What the headers of a folder's safetensors files list."""

    dtypes: Mapping[str, str]
    """Data type of each tensor by name, as safetensors writes it (`F32`, `BF16`)."""
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def elements(self) -> int:
        """Numbers in all tensors together."""
        return sum(_product(shape) for shape in self.shapes.values())


def model_files(path: Path) -> list[Path]:
    """Return the files that make the model, sorted; folders below are included."""
    files = (file for file in sorted(path.rglob("*")) if any(fnmatchcase(file.name, name) for name in MODEL_FILES))
    return [file for file in files if not file.is_dir()]


def check_files(path: Path, name: str) -> None:
    """Check that each file of the model folder `path` can be read and is what its name says.

    Raises `ModelRefused` with the code `model_unusable` for a file that this process may not read, that is no regular
    file, that is a Git LFS pointer, or that is larger than any model needs.
    """
    for file in model_files(path):
        shown = f"{name}/{file.relative_to(path).as_posix()}"
        try:
            size = _regular_size(file, shown)
            with file.open("rb") as opened:
                start = opened.read(len(LFS_POINTER))
        except PermissionError as error:
            raise _unreadable(file, shown) from error
        if start == LFS_POINTER:
            raise ModelRefused(
                "model_unusable",
                f"{shown} is a Git LFS pointer of {size} bytes, not the file itself: the repository was cloned without "
                "Git LFS. Run `git lfs install && git lfs pull` in it, or download it with `hf download`.",
            )
        limit = _limit(file.name)
        if limit is not None and size > limit:
            raise ModelRefused(
                "model_unusable", f"{shown} has {size:,} bytes; more than {limit:,} are not read of such a file."
            )


def read_json(path: Path, name: str) -> dict[str, Any] | None:
    """Return the object in a JSON file of the model `name`; None where there is no such file.

    A file that need not hold an object counts as an empty one if it holds anything else. Raises `ModelRefused` for a
    file that is no JSON, or a list where an object belongs.
    """
    shown = f"{name}/{path.name}"
    try:
        if not path.is_file():
            return None
        text = path.read_bytes()
        content = json.loads(text)
    except PermissionError as error:
        raise _unreadable(path, shown) from error
    except (ValueError, RecursionError) as error:
        found = "is empty" if not text.strip() else f"is not valid JSON: {error or 'nested too deeply'}"
        raise ModelRefused("model_unusable", f"{shown} {found}. Is it cut off? Fetch it again.") from error
    if isinstance(content, dict):
        return content
    if path.name in DICTIONARIES:
        kind = "a list" if isinstance(content, list) else f"a value of type {type(content).__name__}"
        raise ModelRefused("model_unusable", f"{shown} holds {kind} where an object ({{...}}) belongs.")
    return {}


def read_tensors(files: Iterable[Path], name: str) -> Tensors:
    """Read the headers of safetensors files, and check that the files are whole.

    Raises `ModelRefused` for a file whose header is damaged, or that has fewer or more bytes than its header says.
    """
    dtypes: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        for tensor, (dtype, shape) in _header(file, f"{name}/{file.name}").items():
            dtypes[tensor], shapes[tensor] = dtype, shape
    return Tensors(dtypes, shapes)


def _header(file: Path, shown: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise _damaged(shown, f"it has {size:,} bytes and its header claims to have {length:,}")
        text = opened.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        tensors = {key: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for key, entry in header.items()}
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _damaged(shown, f"its header cannot be read ({type(error).__name__})") from error
    if size != 8 + length + end:
        kind = "cut off" if size < 8 + length + end else "too long"
        raise _damaged(shown, f"it is {kind}: {size:,} bytes, where its header lists {8 + length + end:,}")
    return tensors


def _damaged(shown: str, reason: str) -> ModelRefused:
    return ModelRefused("model_unusable", f"{shown} is no whole safetensors file: {reason}. Fetch or save it again.")


def _regular_size(file: Path, shown: str) -> int:
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ModelRefused("model_unusable", f"{shown} is no regular file.")
    return found.st_size


def _unreadable(file: Path, shown: str) -> ModelRefused:
    try:
        found = file.stat()
        state = f" (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}; the worker runs as {os.getuid()})"
    except OSError:
        state = ""
    return ModelRefused(
        "model_unusable",
        f"{shown} cannot be read by the worker{state}. transformers 5 saves weights for their owner only: run "
        "`chmod -R a+rX` on the model's folder, or save it as the user that the worker runs as.",
    )


def _limit(file: str) -> int | None:
    if file == "tokenizer.json":
        return MAX_TOKENIZER_BYTES
    if file.endswith(".jinja"):
        return MAX_TEMPLATE_BYTES
    return MAX_JSON_BYTES if file.endswith(".json") else None


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
