"""`minirec import`: the files that people have, turned into those that an upload takes."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from minirec.cli.connection import Connection
from minirec.cli.errors import CommandError
from minirec.cli.follow import upload
from minirec.cli.options import AsJson, pairs
from minirec.cli.output import dataset_table, note, notes, print_json, results

if TYPE_CHECKING:
    from minirec.data.importers import Imported

Split = Literal["time", "leave-one-out", "none"]
ROLES = ("user", "item", "rating", "timestamp", "title", "history", "target", "split", "id", "prompt", "answer")


def import_source(
    context: typer.Context,
    source: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="Files, folders, archives or URLs that belong together.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to make; new or empty.")] = None,
    upload_it: Annotated[bool, typer.Option("--upload", help="Upload the result as a dataset.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the uploaded dataset; else the source's.")] = None,
    format: Annotated[str | None, typer.Option(help="What the source is, where that is not recognised.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="ROLE=NAME", help=f"Which column holds what: {', '.join(ROLES)}."),
    ] = None,
    item_field: Annotated[
        list[str] | None,
        typer.Option("--item-field", metavar="NAME", help="A field of items to keep, '*' for all; may be repeated."),
    ] = None,
    min_rating: Annotated[float | None, typer.Option(help="Leave out what was rated lower.")] = None,
    min_interactions: Annotated[int, typer.Option(min=1, help="Leave out users and items with fewer (k-core).")] = 1,
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Longest history, in items.")] = 20,
    split: Annotated[
        Split | None, typer.Option(help="How samples are split; by time where there are times.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier import in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn files as you have them into a dataset; their format is recognised.

    Interactions, one per row, become histories; what is left out is counted, with the reason:

        minirec import ml-100k.inter ml-100k.item -o ml-100k --min-rating 4
        minirec import reviews.jsonl.gz meta_Books.jsonl.gz -o books --min-interactions 5 --split leave-one-out
        minirec import orders.csv products.csv -o shop --column user=customer --column timestamp=bought_at
        minirec import https://files.grouplens.org/datasets/movielens/ml-1m.zip --upload --min-rating 4

    Rows with histories, semantic ids and prompts are taken as they are:

        minirec import Office_Products.csv Office_Products.index.json -o office
        minirec import gsm8k.parquet -o gsm8k --column prompt=question

    Recognised are RecBole (.inter, .item), Amazon Reviews 2014 to 2023, MovieLens, MiniOneRec and ReRe CSV, R2ec and
    any other data set of Hugging Face on disk, LC-Rec JSON, texts of `user item item ...`, verl and TRL files, chats of
    OpenAI, and tables with a user and an item per row; as CSV, TSV, JSON lines, Parquet or Arrow, gzipped, in a zip or
    tar archive, or behind an http address.

    Then, from the folder:

        minirec select --samples ml-100k/samples.jsonl.gz --items ml-100k/items.jsonl.gz --size 10% --model MODEL
    """
    if output is None and not upload_it:
        raise typer.BadParameter("give --output for a folder, --upload for a dataset, or both")
    columns = pairs(column)
    unknown = sorted(set(columns) - set(ROLES))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is nothing that a column can hold here; it can be {', '.join(ROLES)}")
    connection: Connection = context.obj
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minirec-"))) / "import"
        imported = _convert(
            source,
            folder,
            format,
            overwrite,
            {
                "columns": columns,
                "item_fields": tuple(item_field) if item_field else None,
                "min_rating": min_rating,
                "min_interactions": min_interactions,
                "window": window,
                "split": split,
            },
        )
        _tell(imported)
        if upload_it:
            with connection.client() as client:
                dataset = upload(client, imported.files, name or _name(source[0]))
            print_json(dataset) if as_json else results.print(dataset_table([dataset]))
        else:
            files = " ".join(f"--{part} {path}" for part, path in imported.files.items())
            note(escape(f"Next:\n  minirec datasets upload {files}"))
        if as_json and not upload_it:
            results.print_json((folder / "import.json").read_text(encoding="utf-8"), indent=None)


def _convert(
    source: list[str], folder: Path, format: str | None, overwrite: bool, options: dict[str, object]
) -> Imported:
    """Import; raise CommandError."""
    try:
        from minirec.data.importers import Options, SourceError, convert
    except ImportError as error:
        raise CommandError(
            f"importing needs {error.name}, which is not installed: pip install 'minirec[up]'"
        ) from error
    try:
        with notes.status("importing"):
            return convert(source, folder, format=format, options=Options(**options), overwrite=overwrite)  # type: ignore[arg-type]
    except SourceError as error:
        raise CommandError(str(error)) from error
    except ImportError as error:
        raise CommandError(f"this file needs {error.name} to be read: pip install 'minirec[up]'") from error


def _tell(imported: Imported) -> None:
    """Print what was recognised, and what was left out and why."""
    note(f"[bold]{imported.format}[/]: {escape(imported.recognised)}")
    if imported.read:
        note("Read: " + ", ".join(f"{count:,} {kind}" for kind, count in imported.read.items()))
    for reason, count in imported.dropped.items():
        first = imported.first_dropped.get(reason)
        note(f"  {count:>10,} left out: {escape(reason)}" + (f" [dim](first: {escape(first)})[/]" if first else ""))
    for sentence in imported.notes:
        note(f"[yellow]Note:[/] {escape(sentence)}")
    splits = ", ".join(
        f"{count:,} without a split" if split == "none" else f"{split} {count:,}"
        for split, count in imported.splits.items()
        if len(imported.splits) > 1 or split != "none"
    )
    written = ", ".join(f"{count:,} {part}" for part, count in imported.written.items())
    note(f"Written: {written}" + (f" ({splits})" if splits else ""))


def _name(source: str) -> str:
    """Return a dataset's name from a path or URL."""
    return source.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].split(".")[0][:200] or "imported"
