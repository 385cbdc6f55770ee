"""The data files of each format: which columns a trainer reads, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

import orjson
import pyarrow as pa

from api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.columns import extra_columns
from minirec.data.exports.encode import MESSAGES, PLACES, SCORES, json_lines, json_text, parquet, prefixed
from minirec.data.exports.rows import Row

Format = Literal["trl", "verl", "openrlhf", "jsonl", "parquet", "ids"]
FORMATS: tuple[Format, ...] = get_args(Format)
SIDE_FILE = "scores.jsonl"

TEXT = pa.string()
OWN: Mapping[Kind, list[pa.Field]] = {
    "interactions": [pa.field("id", TEXT), pa.field("item_id", TEXT), *PLACES, *SCORES],
    "prompts": [pa.field("id", TEXT), *PLACES, *SCORES],
}
ROW: Mapping[Kind, list[pa.Field]] = {"interactions": [], "prompts": [pa.field("row", TEXT)]}
"""The row as it was uploaded, in JSON: what a reward gets to see."""


def trl_schema(kind: Kind, extra: Sequence[pa.Field]) -> pa.Schema:
    named = [("prompt", MESSAGES), ("solution", TEXT), ("ground_truth", TEXT), ("source", TEXT)]
    return pa.schema([*named, *extra, *prefixed([*OWN[kind], *ROW[kind]])])


def verl_schema(kind: Kind) -> pa.Schema:
    return pa.schema(
        [
            ("data_source", TEXT),
            ("prompt", MESSAGES),
            ("ability", TEXT),
            ("reward_model", pa.struct([("style", TEXT), ("ground_truth", TEXT)])),
            (
                "extra_info",
                pa.struct([("split", TEXT), ("index", pa.int64()), *prefixed([*OWN[kind], *ROW[kind]])]),
            ),
        ]
    )


def plain_schema(kind: Kind) -> pa.Schema:
    named = [("id", TEXT), ("prompt", MESSAGES), ("answer", TEXT)]
    own = [("item_id", TEXT)] if kind == "interactions" else [("meta", TEXT)]
    return pa.schema([*named, *own, ("source", TEXT), *PLACES, ("scores", pa.struct(SCORES))])


@dataclass(frozen=True)
class DataFile:
    """A file of an export, written as its content is consumed."""

    name: str
    rows: int
    content: Iterator[bytes]


def data_files(format: Format, kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    """The data files of a format, for rows of a dataset of this kind."""
    return WRITERS[format](kind, rows)


def _trl(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    extra = extra_columns(rows)
    content = ({**_trl_row(row), **extra.values(row)} for row in rows)
    yield DataFile("train.parquet", len(rows), parquet(content, trl_schema(kind, extra.schema)))


def _verl(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_verl_row, rows), verl_schema(kind)))


def _openrlhf(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    """One file per stage, in the stages' order, and a side file with what OpenRLHF cannot hand on."""
    stages = [list(stage) for _, stage in groupby(rows, key=lambda row: row.pick.stage)]
    # At least two digits, and as many as all need: in the order of their names the files are in training order.
    digits = max(2, len(str(len(stages) - 1)))
    side: list[Mapping[str, Any]] = []
    for number, stage in enumerate(stages):
        name = f"stage_{number:0{digits}}.jsonl"
        side += ({"file": name, "line": line, **_own(row), **_meta(row)} for line, row in enumerate(stage, start=1))
        yield DataFile(name, len(stage), json_lines(map(_openrlhf_row, stage)))
    yield DataFile(SIDE_FILE, len(rows), json_lines(side))


def _jsonl(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.jsonl", len(rows), json_lines(map(_plain_row, rows)))


def _parquet(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_column_row, rows), plain_schema(kind)))


def _ids(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    content = orjson.dumps({"ids": [row.id for row in rows], "stages": [row.pick.stage for row in rows]})
    yield DataFile("ids.json", len(rows), iter((content,)))


def _own(row: Row) -> dict[str, Any]:
    item = {} if row.item_id is None else {"item_id": row.item_id}
    return {"id": row.id, **item, **row.places, **row.scores}


def _meta(row: Row) -> dict[str, Any]:
    """The fields of a prompt's row that we do not know; a sample has none."""
    return {} if row.item_id is not None else {"meta": row.extra}


def _named(row: Row) -> dict[str, Any]:
    whole = {} if row.item_id is not None else {"minirec_row": json_text(row.uploaded)}
    return {f"minirec_{name}": value for name, value in _own(row).items()} | whole


def _trl_row(row: Row) -> dict[str, Any]:
    answer, source = answer_text(row.answer), row.source
    return {"prompt": row.messages, "solution": answer, "ground_truth": answer, "source": source, **_named(row)}


def _verl_row(row: Row) -> dict[str, Any]:
    return {
        "data_source": row.source,
        "prompt": row.messages,
        "ability": row.ability,
        "reward_model": {"style": "rule", "ground_truth": answer_text(row.answer)},
        "extra_info": {"split": row.split, "index": row.index, **_named(row)},
    }


def _openrlhf_row(row: Row) -> dict[str, Any]:
    source = {} if row.source is None else {"datasource": row.source}
    return {"input": row.messages, "label": answer_text(row.answer) or "", **source}


def _plain_row(row: Row) -> dict[str, Any]:
    item = {} if row.item_id is None else {"item_id": row.item_id}
    return {
        "id": row.id,
        "prompt": row.messages,
        "answer": row.answer,
        **item,
        **_meta(row),
        "source": row.source,
        **row.places,
        "scores": row.scores,
    }


def _column_row(row: Row) -> dict[str, Any]:
    """The same in columns whose types fit every row."""
    meta = {name: json_text(value) for name, value in _meta(row).items()}
    return {**_plain_row(row), **meta, "answer": answer_text(row.answer)}


WRITERS: dict[Format, Callable[[Kind, Sequence[Row]], Iterator[DataFile]]] = {
    "trl": _trl,
    "verl": _verl,
    "openrlhf": _openrlhf,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "ids": _ids,
}
