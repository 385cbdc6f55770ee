"""Every importer, and which of them a source is for."""

from __future__ import annotations

from pathlib import Path

from minirec.data.importers import (
    amazon,
    histories_table,
    interactions,
    lcrec,
    minionerec,
    movielens,
    prompts,
    r2ec,
    recbole,
    sequences,
    tables,
    texts,
)
from minirec.data.importers.base import Importer, Match, Options
from minirec.data.importers.errors import SourceError
from minirec.data.importers.sources import File, Source

SPECIAL: tuple[Importer, ...] = (
    recbole.IMPORTER,
    movielens.IMPORTER,
    amazon.IMPORTER,
    minionerec.IMPORTER,
    r2ec.IMPORTER,
    lcrec.IMPORTER,
)
"""Importers of data sets that have a name: where one of them is sure, the general ones are not asked."""
GENERAL: tuple[Importer, ...] = (histories_table.IMPORTER, prompts.IMPORTER, interactions.IMPORTER, sequences.IMPORTER)
IMPORTERS = {importer.name: importer for importer in (*SPECIAL, *GENERAL)}


def find(name: str) -> Importer:
    """Return the importer with a name. Raises SourceError."""
    if name not in IMPORTERS:
        raise SourceError(f"there is no format {name!r}; the formats are {', '.join(IMPORTERS)}")
    return IMPORTERS[name]


def detect(source: Source, options: Options) -> tuple[Importer, Match]:
    """Return the importer that a source is for, and what it recognised. Raises SourceError for none or several."""
    for group in (SPECIAL, GENERAL):
        found = [(each, match) for each in group if (match := each.recognise(source, options)) is not None]
        sure = [(each, match) for each, match in found if match.sure]
        if len(sure) == 1 or (not sure and len(found) == 1):
            return (sure or found)[0]
        if found:
            listed = "\n".join(f"  --format {each.name}: {match.what}" for each, match in sure or found)
            raise SourceError(f"{source.name} can be read in several ways; say which:\n{listed}")
    raise SourceError(_unknown(source))


def asked(importer: Importer, source: Source, options: Options) -> tuple[Importer, Match]:
    """Return an importer that was asked for, and what it recognises. Raises SourceError where that is nothing."""
    match = importer.recognise(source, options)
    if match is None:
        raise SourceError(
            f"{source.name} is not {importer.title}: needed is {importer.needs}. It has\n{_listed(source)}"
        )
    return importer, match


def _unknown(source: Source) -> str:
    """Return what a source that nobody recognises looks like, and what would be recognised."""
    known = "\n".join(f"  {importer.name}: {importer.needs}" for importer in IMPORTERS.values())
    return (
        f"{source.name} is nothing that is recognised. It has\n{_listed(source)}\n"
        f"Say which columns hold what, as in --column user=NAME --column item=NAME. What is recognised:\n{known}"
    )


def _listed(source: Source) -> str:
    """Return the files and tables of a source, one a line."""
    files = [f"  {file.name}: {_looks(file)}" for file in source.files[:10]]
    files += [f"  {table.name}: columns {', '.join(table.columns)}" for table in source.held]
    files += [f"  and {len(source.files) - 10} more"] if len(source.files) > 10 else []
    return "\n".join(files or ["  no files"])


def _looks(file: File) -> str:
    """Return a file's kind and columns in words."""
    named = [name for name in file.columns if name]
    if named:
        return f"{file.kind}, columns {', '.join(named[:12])}" + (", ..." if len(named) > 12 else "")
    if file.kind == "csv":
        first = next((cells for _, cells in tables.cells(file)), [])
        if twice := [name for name in dict.fromkeys(first) if first.count(name) > 1]:
            return f"csv; its first line has {twice[0]!r} more than once: rename one of them if these are columns"
        return "csv, without a header"
    if file.kind == "other":
        return _looks_other(file.path)
    return file.kind


def _looks_other(path: Path) -> str:
    """Return what a file that is no text and no table is, in words."""
    with texts.open_bytes(path) as opened:
        start = opened.read(1 << 12)
    if not start.strip():
        return "empty"
    if b"\0" in start[:2] and start.count(b"\0") > len(start) // 3:
        return "UTF-16 without a byte-order mark: save it as UTF-8"
    return "binary, or a text with zero bytes"
