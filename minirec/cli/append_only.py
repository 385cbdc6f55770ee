"""What a power cut leaves at the end of Redis's append-only file: zeros that were never written, which it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20


def newest_file(folder: Path) -> Path | None:
    """Return the file that the server appends to, from its manifest; None if there is none."""
    for manifest in folder.glob("appendonlydir/*.manifest"):
        words = [line.split() for line in manifest.read_text().splitlines()]
        names = [line[1] for line in words if len(line) >= 6 and line[5] == "i"]
        if names:
            return manifest.parent / names[-1]
    return None


def cut_zeros(folder: Path) -> Path | None:
    """Cut zeros off the end of the append-only file, back to its last whole command; return the copy kept, or None.

    Only where nothing but zeros follows: anything else may hide commands, and is for a person to judge.
    """
    path = newest_file(folder)
    if path is None or not path.exists():
        return None
    with path.open("rb") as file:
        whole, read = last_whole_command(file)
        file.seek(read)
        if read == path.stat().st_size or not _only_zeros(file):
            return None
    copy = path.with_name(f"{path.name}.damaged")
    shutil.copyfile(path, copy)
    with path.open("r+b") as file:
        file.truncate(whole)
    return copy


def last_whole_command(file: BinaryIO) -> tuple[int, int]:
    """Return where the last command outside of an unfinished transaction ends, and the last of all."""
    end, read, in_transaction = 0, 0, False
    for words in _commands(file):
        name = words[0].upper() if words else b""
        in_transaction = (in_transaction or name == b"MULTI") and name != b"EXEC"
        read = file.tell()
        if not in_transaction:
            end = read
    return end, read


def _commands(file: BinaryIO) -> Iterator[list[bytes]]:
    """Yield commands until one is not whole, or is none."""
    while line := file.readline(64):
        if line.startswith(b"#"):
            yield []
            continue
        count = _number(line, b"*")
        if count is None:
            return
        words = []
        for _ in range(count):
            length = _number(file.readline(64), b"$")
            if length is None:
                return
            word = file.read(length + 2)
            if len(word) < length + 2 or not word.endswith(b"\r\n"):
                return
            words.append(word[:-2])
        yield words


def _number(line: bytes, sign: bytes) -> int | None:
    digits = line[1:-2]
    whole = line[:1] == sign and line.endswith(b"\r\n") and digits.isdigit()
    return int(digits) if whole else None


def _only_zeros(file: BinaryIO) -> bool:
    return all(not any(block) for block in iter(lambda: file.read(BLOCK), b""))
