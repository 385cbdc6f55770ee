"""An export as a zip file: data, manifest.json, README.md. The same selection gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import orjson

from api_schemas.datasets import Kind
from minirec import __version__
from minirec.data.exports.readme import CHECKED_WITH, readme
from minirec.data.exports.rows import Row
from minirec.data.exports.warnings import find_warnings
from minirec.data.exports.writers import Format, data_files
from minirec.data.prompts import PROMPT_VERSION

README, MANIFEST = "README.md", "manifest.json"


class SourceMissingError(ValueError):
    """A row does not say which data set it is from, and the trainer must know."""


def write_export(
    file: IO[bytes],
    format: Format,
    rows: Sequence[Row],
    *,
    kind: Kind,
    selection: Mapping[str, Any],
    window: int,
    batch_size: int | None,
) -> None:
    """Write the zip file of an export to `file`.

    `rows` are in training order, and of a dataset of this `kind`. `selection` is what is known of the selection itself,
    with at least its `id`, and goes into the manifest. `batch_size` is the number of prompts in one batch of the
    trainer, where it is known; rows that do not fill one are warned about. Raises SourceMissingError for verl where a
    row has no source.
    """
    if format == "verl" and (nameless := next((row for row in rows if row.source is None), None)) is not None:
        raise SourceMissingError(
            f"verl chooses the reward function by data_source; sample {nameless.id!r} has no source, and the dataset "
            f"has no name to take instead: give one for the rows without"
        )
    stages = [sum(1 for _ in stage) for _, stage in groupby(rows, key=lambda row: row.pick.stage)]
    warnings = find_warnings(format, rows, stages, batch_size)
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        folder = _Folder(archive)
        for data in data_files(format, kind, rows):
            folder.add(data.name, data.content, rows=data.rows)
        text = readme(
            format,
            kind,
            rows,
            selection=selection,
            stages=stages,
            files=list(folder.files),
            batch_size=batch_size,
            warnings=warnings,
        )
        folder.add(README, [text.encode()])
        manifest = {
            "object": "export",
            "format": format,
            "checked_with": CHECKED_WITH.get(format),
            "selection": selection,
            "kind": kind,
            "prompt": {"version": PROMPT_VERSION, "window": window} if kind == "interactions" else None,
            "counts": {"rows": len(rows), "stages": stages},
            "batch_size": batch_size,
            "warnings": warnings,
            "library_versions": {"minirec": __version__, "pyarrow": version("pyarrow")},
            "files": folder.files,
        }
        folder.add(MANIFEST, [orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"])


class _Folder:
    """The entries of a zip file, with size and hash of what was written."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, content: Iterable[bytes], *, rows: int | None = None) -> None:
        digest, size = hashlib.sha256(), 0
        with self._archive.open(_entry(name), "w", force_zip64=True) as file:
            for chunk in content:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        counted = {} if rows is None else {"rows": rows}
        self.files[name] = {**counted, "bytes": size, "sha256": digest.hexdigest()}


def _entry(name: str) -> ZipInfo:
    """A plain file, without the time at which it was written."""
    entry = ZipInfo(name)  # dated 1980-01-01
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = 3  # Unix, wherever it was written: its permissions are
    entry.external_attr = 0o100644 << 16
    return entry
