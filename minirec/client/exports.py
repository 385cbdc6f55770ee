"""A selection's export on its way into a folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from api_schemas.exports import ExportFormat as ExportFormat
from minirec.client.core import Call
from minirec.client.errors import MiniRecError

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def export(selection_id: str, format: ExportFormat, batch_size: int | None, source: str | None) -> Call:
    return Call(
        "GET",
        f"/v1/selections/{selection_id}/export",
        params={"format": format, "batch_size": batch_size, "source": source},
        headers={"Accept": "*/*"},
    )


def empty_folder(path: str | os.PathLike[str]) -> Path:
    """`path`, checked: files of an earlier export must not mix with those of this one. Raises FileExistsError."""
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
                names = [safe_name(entry) for entry in archive.infolist()]
                for name in names:
                    with archive.open(name) as content, Path(scratch, name).open("xb") as target:
                        shutil.copyfileobj(content, target)
        except BadZipFile as error:
            raise MiniRecError(f"the export did not arrive as a whole zip file ({error}); ask for it again") from error
        for name in names:
            os.replace(Path(scratch, name), folder / name)


def safe_name(entry: ZipInfo) -> str:
    """Name of a plain file that stays in its folder. Raises MiniRecError for any other entry of a zip file."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or not PLAIN_NAME.fullmatch(entry.filename):
        raise MiniRecError(
            f"the export holds {entry.filename!r}, which is no plain file of its folder; nothing was unpacked"
        )
    return entry.filename
