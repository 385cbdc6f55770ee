"""Plain files for any trainer: JSON Lines, Parquet, CSV, or the ids alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.encode import MESSAGES, PLACES, SCORES, json_lines, json_text, parquet
from minirec.data.exports.fields import TEXT, meta_field
from minirec.data.exports.rows import Row
from minirec.data.exports.target import ANSWERS, TITLE, Batches, Context, DataFile, Target, partial_batch

RECIPE = """\
The rows are in training order. Switch off whatever shuffling the trainer or its data loader does by default, and give
it a batch size that divides the number of rows, or let it keep the last partial batch.

## Fields

`prompt` is a chat, `answer` is {answer}. `source` is the data set, `position`,
`rank` and `stage` are the sample's places, `scores` what was measured of it. {more}
"""
CSV_RECIPE = """\
The rows are in training order. Switch off whatever shuffling the trainer or its data loader does by default.

UTF-8, comma-separated, with a header; texts with commas, quotes or line breaks are in double quotes, as RFC 4180 says.

## Columns

`prompt` is the text of the last user turn, `messages` the whole chat in JSON. `answer` is {answer};
without one it is empty. `source` is the data set, `position`, `rank` and `stage` are the sample's places, and the
scores what was measured of it. {more}
"""
IDS_RECIPE = """\
`ids` are in training order; `stages` has the curriculum group of each. Look the samples up by id, and switch off
whatever shuffling the trainer or its data loader does by default.
"""
ITEM = "`item_id` is the id of that item."
CSV_CHUNK = 1 << 20
"""Characters that are written at once."""


def schema(kind: Kind) -> pa.Schema:
    """Return the columns of the Parquet file."""
    named = [("id", TEXT), ("prompt", MESSAGES), ("answer", TEXT)]
    own = [("item_id", TEXT)] if kind == "interactions" else [("meta", TEXT)]
    return pa.schema([*named, *own, ("source", TEXT), *PLACES, ("scores", pa.struct(SCORES))])


def _jsonl_files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.jsonl", len(rows), json_lines(map(_row, rows)))


def _parquet_files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_column_row, rows), schema(kind)))


def _ids_files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    content = orjson.dumps({"ids": [row.id for row in rows], "stages": [row.pick.stage for row in rows]})
    yield DataFile("ids.json", len(rows), iter((content,)))


def _csv_files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.csv", len(rows), _csv(rows))


def _csv(rows: Sequence[Row]) -> Iterator[bytes]:
    """Yield a header and one line per row; null is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(_csv_row(rows[0])) if rows else ["id"])
    writer.writeheader()
    for row in rows:
        writer.writerow(_csv_row(row))
        if text.tell() > CSV_CHUNK:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _csv_row(row: Row) -> dict[str, Any]:
    item = {} if row.item_id is None else {"item_id": row.item_id}
    return {
        "id": row.id,
        "prompt": next(turn["content"] for turn in reversed(row.messages) if turn["role"] == "user"),
        "messages": json_text(row.messages),
        "answer": answer_text(row.answer),
        **item,
        **{name: json_text(value) for name, value in meta_field(row).items()},
        "source": row.source,
        **row.places,
        **row.scores,
    }


def _row(row: Row) -> dict[str, Any]:
    item = {} if row.item_id is None else {"item_id": row.item_id}
    return {
        "id": row.id,
        "prompt": row.messages,
        "answer": row.answer,
        **item,
        **meta_field(row),
        "source": row.source,
        **row.places,
        "scores": row.scores,
    }


def _column_row(row: Row) -> dict[str, Any]:
    """Return the same in columns whose types fit every row."""
    meta = {name: json_text(value) for name, value in meta_field(row).items()}
    return {**_row(row), **meta, "answer": answer_text(row.answer)}


def _jsonl_recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    answer = "the answer, a text or a list of them, or null" if is_text else TITLE
    return RECIPE.format(answer=answer, more="`meta` has the row's further fields." if is_text else ITEM)


def _parquet_recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    return RECIPE.format(
        answer=context.answer, more="`meta` has the row's\nfurther fields, in JSON." if is_text else ITEM
    )


def _csv_recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    answer = ANSWERS if is_text else TITLE
    return CSV_RECIPE.format(answer=answer, more="`meta` has the row's further fields, in JSON." if is_text else ITEM)


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    return partial_batch(batches, "a trainer that drops the last partial batch drops the same rows in every epoch")


JSONL = Target("jsonl", "any trainer, as JSON Lines", _jsonl_files, _jsonl_recipe, warnings=_warnings)
PARQUET = Target("parquet", "any trainer, as Parquet", _parquet_files, _parquet_recipe, warnings=_warnings)
CSV = Target("csv", "any trainer, as CSV", _csv_files, _csv_recipe, warnings=_warnings)
IDS = Target(
    "ids",
    "any trainer, as sample ids",
    _ids_files,
    lambda context: IDS_RECIPE,
    warnings=_warnings,
    has_scores=False,
)
