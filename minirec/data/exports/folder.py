"""An export as a zip file: data, manifest.json, README.md. The same selection gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import orjson

from minirec import __version__
from minirec.api_schemas.datasets import Kind
from minirec.api_schemas.exports import ExportFormat
from minirec.data.exports.readme import readme
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches
from minirec.data.exports.targets import TARGETS
from minirec.data.prompts import PROMPT_VERSION

README, MANIFEST = "README.md", "manifest.json"


def write_export(
    file: IO[bytes],
    format: ExportFormat,
    rows: Sequence[Row],
    *,
    kind: Kind,
    selection: Mapping[str, Any],
    window: int,
    batch_size: int | None,
) -> None:
    """Write the zip file of an export to `file`.

    Args:
        file: Open for writing.
        format: Whose files to write.
        rows: The samples in training order.
        kind: Of the dataset that they are from.
        selection: What is known of the selection, with at least its `id`; it goes into the manifest.
        window: History items in the prompts.
        batch_size: Prompts in one batch of the trainer, where it is known; rows that fill none are warned of.

    Raises:
        SourceMissingError: A row has no source, and the trainer needs one.
        AnswerMissingError: No row has an answer, and the trainer learns from nothing else.
    """
    target = TARGETS[format]
    target.check(rows)
    batches = Batches([sum(1 for _ in stage) for _, stage in groupby(rows, key=lambda row: row.pick.stage)], batch_size)
    warnings = target.warnings(rows, batches)
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        folder = _Folder(archive)
        for data in target.files(kind, rows):
            folder.add(data.name, data.content, rows=data.rows)
        text = readme(
            target, kind, rows, selection=selection, batches=batches, files=list(folder.files), warnings=warnings
        )
        folder.add(README, [text.encode()])
        manifest = {
            "object": "export",
            "format": format,
            "checked_with": target.checked_with,
            "selection": selection,
            "kind": kind,
            "prompt": {"version": PROMPT_VERSION, "window": window} if kind == "interactions" else None,
            "counts": {"rows": len(rows), "stages": batches.stages},
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
    """Return the entry of a plain file, without the time at which it was written."""
    entry = ZipInfo(name)  # dated 1980-01-01
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = 3  # Unix, wherever it was written: its permissions are
    entry.external_attr = 0o100644 << 16
    return entry
