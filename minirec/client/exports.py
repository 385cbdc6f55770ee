"""A selection's export on its way into a folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import zlib
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from minirec.api_schemas.exports import ExportFormat as ExportFormat
from minirec.client.core import Call
from minirec.client.errors import MiniRecError

LARGEST_RATIO, SMALL_BYTES = 200, 64 * 1024**2
"""An export may be this many times as large as its zip file; up to 64 MiB it may be anything."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def export(selection_id: str, format: ExportFormat, batch_size: int | None, source: str | None) -> Call:
    return Call(
        "GET",
        f"/v1/selections/{selection_id}/export",
        params={"format": format, "batch_size": batch_size, "source": source},
        headers={"Accept": "*/*"},
    )


def empty_folder(path: str | os.PathLike[str]) -> Path:
    """Return `path` if it is new or empty: files of two exports must not mix. Raise FileExistsError."""
    folder = Path(path)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and is no empty folder; an export needs one of its own")
    return folder


def unpack(file: IO[bytes], folder: Path) -> None:
    """Fill `folder` from a zip file, with all of it or nothing. Raises MiniRecError where the file is no export."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking.") as scratch:
        try:
            with ZipFile(file) as archive:
                names = checked_names(archive)
                for name in names:
                    with archive.open(name) as content, Path(scratch, name).open("xb") as target:
                        shutil.copyfileobj(content, target)
        except (BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
            raise MiniRecError(f"the export did not arrive as a whole zip file ({error}); ask for it again") from error
        for name in names:
            os.replace(Path(scratch, name), folder / name)


def checked_names(archive: ZipFile) -> list[str]:
    """Return the names of an export's files. Raise MiniRecError for any that may not be unpacked."""
    entries = archive.infolist()
    names = [safe_name(entry) for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MiniRecError(f"the export holds {twice!r} twice; nothing was unpacked")
    packed, whole = sum(entry.compress_size for entry in entries), sum(entry.file_size for entry in entries)
    if whole > SMALL_BYTES + LARGEST_RATIO * packed:
        raise MiniRecError(
            f"the export would grow from {packed:,} to {whole:,} bytes, more than data of a dataset does; "
            "nothing was unpacked"
        )
    return names


def safe_name(entry: ZipInfo) -> str:
    """Return the name of a plain file in its folder. Raise MiniRecError for any other entry of a zip file."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or not PLAIN_NAME.fullmatch(entry.filename):
        raise MiniRecError(
            f"the export holds {entry.filename!r}, which is no plain file of its folder; nothing was unpacked"
        )
    return entry.filename


def plain_name(text: str) -> str:
    """Return the name of a file that a service offers. Raise MiniRecError where it is not a plain name."""
    if not PLAIN_NAME.fullmatch(text):
        raise MiniRecError(f"the service offers a file named {text!r}, not a plain name; it was not downloaded")
    return text
