"""A source turned into the files that an upload takes, with an account of what was left out."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from minirec.api_schemas.rows import ItemRow, PromptRow, SampleRow, Split
from minirec.data.importers.base import Contents, Options, Tally
from minirec.data.importers.errors import SourceError
from minirec.data.importers.fetch import Origin, opened
from minirec.data.importers.histories import samples_of
from minirec.data.importers.registry import asked, detect, find
from minirec.data.importers.sources import Source
from minirec.data.importers.values import as_title
from minirec.data.importers.writing import RowWriter

REPORT = "import.json"
SPLITS = (*get_args(Split), "none")
NAMES = {"samples": "samples.jsonl.gz", "items": "items.jsonl.gz", "prompts": "prompts.jsonl.gz"}
MAX_TITLE = 2_000
"""Characters that an upload takes."""


@dataclass(frozen=True)
class Imported:
    """Files that `client.datasets.upload(**imported.files)` takes, and how they came about."""

    folder: Path
    files: dict[str, Path]
    """`samples` and `items`, or `prompts`."""
    format: str
    """Name of the importer."""
    recognised: str
    """What it found, in words."""
    read: dict[str, int]
    """What was read, by kind."""
    written: dict[str, int]
    """Rows per file."""
    splits: dict[str, int]
    """Samples or prompts per split; `none` counts those without one."""
    dropped: dict[str, int]
    """Reason -> how many rows were left out for it."""
    first_dropped: dict[str, str]
    """Reason -> the first of them."""
    notes: list[str]
    """What was assumed, and what looks odd."""


def convert(
    origin: Origin | Iterable[Origin] | Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    format: str | None = None,
    options: Options | None = None,
    overwrite: bool = False,
) -> Imported:
    """Turn what people have into a dataset's files.

    Args:
        origin: A file, a folder, an archive, a URL, a table in memory (pandas, polars, pyarrow, `datasets.Dataset`, a
            list of rows), several of these, or a mapping of names to tables.
        folder: Where the files go; it is made, and appears whole or not at all.
        format: Name of an importer; None: the one that recognises the source.
        options: How rows become samples.
        overwrite: Replace the files of an earlier import in `folder`.

    Raises:
        SourceError: The source is not recognised, can be several things, or is damaged.
        OSError: A file cannot be read or written.
    """
    options = options or Options()
    folder = Path(folder)
    _check_folder(folder, overwrite)
    tally = Tally()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with opened(origin) as source, tempfile.TemporaryDirectory(dir=folder.parent, prefix=".import-") as scratch:
        importer, match = detect(source, options) if format is None else asked(find(format), source, options)
        for file in source.files:
            file.was_read = False
        contents = importer.read(source, options, tally)
        _check_options(contents, options, match.what)
        written, splits = _write(contents, Path(scratch), options, tally)
        imported = Imported(
            folder=folder,
            files={part: folder / NAMES[part] for part in written},
            format=importer.name,
            recognised=match.what,
            read=tally.read,
            written=written,
            splits=splits,
            dropped=tally.dropped,
            first_dropped=tally.first,
            notes=tally.notes + _left_fields(tally) + _unread(source),
        )
        report = {**asdict(imported), "folder": str(folder), "files": {p: NAMES[p] for p in written}}
        (Path(scratch) / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _move(Path(scratch), folder)
    return imported


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise SourceError(f"{folder} is a file; give a folder for the result")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise SourceError(
            f"{folder} is not empty; give a new folder, or --overwrite to replace an earlier import there"
        )


def _move(scratch: Path, folder: Path) -> None:
    """Put the files into the folder, where only files of an earlier import give way."""
    folder.mkdir(exist_ok=True)
    for name in (*NAMES.values(), REPORT):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(scratch.iterdir()):
        shutil.move(path, folder / path.name)


def _check_options(contents: Contents, options: Options, what: str) -> None:
    """Raise SourceError for options that rows of this kind cannot follow."""
    if contents.interactions is not None:
        return
    ignored = {"min_interactions": options.min_interactions > 1, "split": options.split is not None}
    ignored["min_rating"] = options.min_rating is not None and contents.rating_column is None
    given = [f"--{name.replace('_', '-')}" for name, is_given in ignored.items() if is_given]
    if given:
        kind = "prompts" if contents.prompts is not None else "rows that have a history already"
        raise SourceError(
            f"{what}: {', '.join(given)} cannot be followed with {kind}; it is for one interaction per row"
        )


def _write(contents: Contents, folder: Path, options: Options, tally: Tally) -> tuple[dict[str, int], dict[str, int]]:
    """Write the files of a dataset; return rows per file and per split. Raises SourceError if nothing is left."""
    if contents.prompts is not None:
        prompts = RowWriter(folder / NAMES["prompts"], PromptRow, tally)
        _require(prompts.write(contents.prompts), "prompt", tally)
        return {"prompts": prompts.count}, dict(prompts.splits)
    known: set[str] | None = None if contents.items is None else set()
    items = RowWriter(folder / NAMES["items"], ItemRow, tally, unique=True, items=known)
    if contents.items is not None and known is not None:
        _require(items.write(_unique(contents.items, known, tally)), "item", tally)
    if contents.samples is not None:
        rows = _in_catalogue(contents.samples, known, tally)
    else:
        rows = samples_of(contents.interactions or (), known, options, tally)
    used: set[str] = set()
    samples = RowWriter(folder / NAMES["samples"], SampleRow, tally, unique=contents.samples is None)
    _require(samples.write(_noting(rows, used)), "sample", tally)
    if not samples.splits["train"] and samples.splits["none"] < samples.count:
        tally.note("No sample is in the split train: there may be too few for three splits (--split none makes none).")
    if known is None:
        tally.note(
            "There are no titles: the ids stand in for them. Selections by uploaded rewards are as good as ever, but a "
            "language model cannot recommend by ids; import a file of items together with this one."
        )
        items.write({"item_id": item, "title": item} for item in sorted(used))
    splits = {split: samples.splits[split] for split in SPLITS if samples.splits[split]}
    return {"samples": samples.count, "items": items.count}, splits


def _unread(source: Source) -> list[str]:
    """Return a sentence on the files that were not read, in a list, which is empty where all were."""
    names = [file.name for file in source.files if not file.was_read]
    if not names:
        return []
    return [f"Not read: {', '.join(names[:6])}" + (f" and {len(names) - 6} more." if len(names) > 6 else ".")]


def _left_fields(tally: Tally) -> list[str]:
    """Return a sentence on the fields of items that are not kept, in a list, which is empty where all are."""
    left = sorted(tally.left_fields)
    if not left:
        return []
    names = ", ".join(left[:12]) + (f" and {len(left) - 12} more" if len(left) > 12 else "")
    return [
        f"Fields of items that are left out, because a model reads all that is kept: {names}. "
        "Choose others with --item-field NAME, or '*' for all."
    ]


def _require(count: int, what: str, tally: Tally) -> None:
    if count == 0:
        reasons = "".join(
            f"\n  {number:,} x {reason}" + (f" (first: {tally.first[reason]})" if reason in tally.first else "")
            for reason, number in tally.dropped.items()
        )
        read = ", ".join(f"{number:,} {kind}" for kind, number in tally.read.items()) or "nothing"
        raise SourceError(f"not one {what} is left. Read: {read}." + (f" Left out:{reasons}" if reasons else ""))


def _unique(items: Iterable[dict[str, Any]], known: set[str], tally: Tally) -> Iterator[dict[str, Any]]:
    """Yield items that have a title, the first of each id; `known` are those that were written."""
    for item in items:
        if item["item_id"] in known:
            tally.drop("item that came before, with the same id", item["item_id"])
        elif not as_title(item["title"]):
            tally.drop("item without a title", item["item_id"])
        elif len(item["title"]) > MAX_TITLE:
            tally.drop(f"item whose title is longer than {MAX_TITLE:,} characters", item["item_id"])
        else:
            yield item


def _in_catalogue(samples: Iterable[dict[str, Any]], known: set[str] | None, tally: Tally) -> Iterator[dict[str, Any]]:
    """Yield samples whose items are all in the catalogue."""
    for sample in samples:
        missing = [i for i in (*sample["history"], sample["target"]) if known is not None and i not in known]
        if missing:
            tally.drop("row with an item that is not in the catalogue", f"item {missing[0]}")
        else:
            yield sample


def _noting(samples: Iterable[dict[str, Any]], used: set[str]) -> Iterator[dict[str, Any]]:
    """Yield samples, and add the ids of their items to `used`."""
    for sample in samples:
        used.update(sample["history"])
        used.add(sample["target"])
        yield sample
