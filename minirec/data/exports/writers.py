"""The data files of each format: which columns a trainer reads, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

import orjson
import pyarrow as pa

from minirec.data.exports.encode import MESSAGES, PLACES, SCORES, json_lines, parquet, prefixed
from minirec.data.exports.rows import Row

Format = Literal["trl", "verl", "openrlhf", "jsonl", "parquet", "ids"]
FORMATS: tuple[Format, ...] = get_args(Format)
ABILITY = "recommendation"
SIDE_FILE = "scores.jsonl"

TEXT = pa.string()
OWN = [pa.field("id", TEXT), pa.field("item_id", TEXT), *PLACES, *SCORES]
TRL = pa.schema(
    [("prompt", MESSAGES), ("solution", TEXT), ("ground_truth", TEXT), ("source", TEXT), *prefixed(OWN)],
)
VERL = pa.schema(
    [
        ("data_source", TEXT),
        ("prompt", MESSAGES),
        ("ability", TEXT),
        ("reward_model", pa.struct([("style", TEXT), ("ground_truth", TEXT)])),
        ("extra_info", pa.struct([("split", TEXT), ("index", pa.int64()), *prefixed(OWN)])),
    ]
)
PLAIN = pa.schema(
    [
        ("id", TEXT),
        ("prompt", MESSAGES),
        ("answer", TEXT),
        ("item_id", TEXT),
        ("source", TEXT),
        *PLACES,
        ("scores", pa.struct(SCORES)),
    ]
)


@dataclass(frozen=True)
class DataFile:
    """A file of an export, written as its content is consumed."""

    name: str
    rows: int
    content: Iterator[bytes]


def data_files(format: Format, rows: Sequence[Row]) -> Iterator[DataFile]:
    """The data files of a format."""
    return WRITERS[format](rows)


def _trl(rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_trl_row, rows), TRL))


def _verl(rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_verl_row, rows), VERL))


def _openrlhf(rows: Sequence[Row]) -> Iterator[DataFile]:
    """One file per stage, in the stages' order, and a side file with what OpenRLHF cannot hand on."""
    stages = [list(stage) for _, stage in groupby(rows, key=lambda row: row.pick.stage)]
    # At least two digits, and as many as all need: in the order of their names the files are in training order.
    digits = max(2, len(str(len(stages) - 1)))
    side: list[Mapping[str, Any]] = []
    for number, stage in enumerate(stages):
        name = f"stage_{number:0{digits}}.jsonl"
        side += ({"file": name, "line": line, **_own(row)} for line, row in enumerate(stage, start=1))
        yield DataFile(name, len(stage), json_lines(map(_openrlhf_row, stage)))
    yield DataFile(SIDE_FILE, len(rows), json_lines(side))


def _jsonl(rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.jsonl", len(rows), json_lines(map(_plain_row, rows)))


def _parquet(rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_plain_row, rows), PLAIN))


def _ids(rows: Sequence[Row]) -> Iterator[DataFile]:
    content = orjson.dumps({"ids": [row.id for row in rows], "stages": [row.pick.stage for row in rows]})
    yield DataFile("ids.json", len(rows), iter((content,)))


def _own(row: Row) -> dict[str, Any]:
    return {"id": row.id, "item_id": row.item_id, **row.places, **row.scores}


def _named(row: Row) -> dict[str, Any]:
    return {f"minirec_{name}": value for name, value in _own(row).items()}


def _trl_row(row: Row) -> dict[str, Any]:
    answer, source = row.answer, row.source
    return {"prompt": row.messages, "solution": answer, "ground_truth": answer, "source": source, **_named(row)}


def _verl_row(row: Row) -> dict[str, Any]:
    return {
        "data_source": row.source,
        "prompt": row.messages,
        "ability": ABILITY,
        "reward_model": {"style": "rule", "ground_truth": row.answer},
        "extra_info": {"split": row.split, "index": row.index, **_named(row)},
    }


def _openrlhf_row(row: Row) -> dict[str, Any]:
    source = {} if row.source is None else {"datasource": row.source}
    return {"input": row.messages, "label": row.answer, **source}


def _plain_row(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "prompt": row.messages,
        "answer": row.answer,
        "item_id": row.item_id,
        "source": row.source,
        **row.places,
        "scores": row.scores,
    }


WRITERS: dict[Format, Callable[[Sequence[Row]], Iterator[DataFile]]] = {
    "trl": _trl,
    "verl": _verl,
    "openrlhf": _openrlhf,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "ids": _ids,
}
