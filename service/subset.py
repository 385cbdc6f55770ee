"""Route of a selection's subset, in training order: as ids, as JSON Lines, as a Parquet file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from minirec.api_schemas import SubsetIds, SubsetRow
from minirec.api_schemas.selections import GATE_VERDICTS
from minirec.data.dataset import Dataset, Prompt, PromptDataset, answer_text
from minirec.data.exports.encode import MESSAGES, json_text
from minirec.service.content import open_content
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.files import pieces
from minirec.service.problems import problems
from minirec.service.results import Result, result_of

JSONL = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
CHUNK_ROWS = 1024

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("picked_rank", pa.int64(), nullable=False),
        pa.field("group", pa.int64(), nullable=False),
        pa.field("reward_mean", pa.float64(), nullable=False),
        pa.field("pass_rate", pa.float64(), nullable=False),
        pa.field("learnability", pa.float64(), nullable=False),
        pa.field("representativeness", pa.float64()),
        pa.field("gate", pa.string(), nullable=False),
    ]
)
"""`SubsetRow` without its sample."""
SAMPLE = pa.struct(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("history", pa.list_(pa.string()), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("timestamp", pa.float64()),
        pa.field("ratings", pa.list_(pa.float64())),
        pa.field("history_timestamps", pa.list_(pa.float64())),
        pa.field("split", pa.string()),
    ]
)
"""`SampleRow`."""
PROMPT = pa.struct(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", MESSAGES, nullable=False),
        pa.field("answer", pa.string()),
        pa.field("source", pa.string()),
        pa.field("split", pa.string()),
        pa.field("extra", pa.string(), nullable=False),
    ]
)
"""`PromptRow`: always a chat, several answers as a JSON list, further fields as a JSON object."""

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


@router.get(
    "/{selection_id}/subset",
    response_model=SubsetIds,
    responses={
        200: {
            "description": "The subset, easy to hard within each group",
            "content": {
                JSONL: {"schema": {"type": "string", "description": "One `SubsetRow` per line"}},
                PARQUET: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "Columns as `SubsetRow`; `sample` has the fields of a `SampleRow`, or of a "
                        "`PromptRow`: `prompt` as a chat, several answers as a JSON list, further fields in `extra` "
                        "as a JSON object",
                    }
                },
            },
        }
    },
)
def get_subset(
    store: StoreOf,
    selection_id: SelectionId,
    format: Annotated[Literal["ids", "jsonl", "parquet"], Query(description="How the subset is written")] = "ids",
) -> SubsetIds | Response:
    """The selected samples in training order. Train on them in this order, without shuffling."""
    result = result_of(store, selection_id)
    if format == "ids":
        return SubsetIds(
            selection_id=selection_id,
            ids=[result.sample_id(int(position)) for position in result.training_order],
            groups=result.columns["group"][result.training_order].tolist(),
        )
    dataset = open_content(store, result.content_hash)
    lines = _lines(dataset, result)
    if format == "jsonl":
        return _file(_joined(lines), JSONL, f"{selection_id}.jsonl")
    file = _parquet(lines, prompts=isinstance(dataset, PromptDataset))
    return _file(pieces(file), PARQUET, f"{selection_id}.parquet")


def _lines(dataset: Dataset | PromptDataset, result: Result) -> list[bytes]:
    """The subset's rows as JSON, in training order."""
    lines = [b""] * len(result.training_order)
    # Read in the dataset's order: its row groups are unpacked once each.
    for position in np.sort(result.training_order):
        row = _subset_row(result, int(position), dataset.sample_json(int(result.columns["row"][position])))
        lines[row.position] = row.model_dump_json().encode()
    return lines


def _subset_row(result: Result, position: int, sample: dict[str, object]) -> SubsetRow:
    columns = result.columns
    return SubsetRow(
        id=result.sample_id(position),
        position=int(columns["training_position"][position]),
        picked_rank=int(columns["picked_rank"][position]),
        group=int(columns["group"][position]),
        reward_mean=result.reward_mean(position),
        pass_rate=result.pass_rate(position),
        learnability=float(columns["learnability"][position]),
        representativeness=result.representativeness(position),
        gate=GATE_VERDICTS[columns["gate"][position]],
        sample=sample,
    )


def _joined(lines: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(lines), CHUNK_ROWS):
        yield b"\n".join(lines[start : start + CHUNK_ROWS]) + b"\n"


def _parquet(lines: list[bytes], *, prompts: bool) -> IO[bytes]:
    schema = SCHEMA.append(pa.field("sample", PROMPT if prompts else SAMPLE, nullable=False))
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by pieces, once the client has it)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(lines), CHUNK_ROWS):
            rows = [json.loads(line) for line in lines[start : start + CHUNK_ROWS]]
            if prompts:
                rows = [row | {"sample": _prompt_fields(row["sample"])} for row in rows]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    file.seek(0)
    return file


def _prompt_fields(sample: dict[str, Any]) -> dict[str, Any]:
    """A prompt's row in columns that fit every row."""
    prompt = Prompt.of(sample)
    return {
        "id": prompt.id,
        "prompt": prompt.messages,
        "answer": answer_text(prompt.answer),
        "source": prompt.source,
        "split": prompt.split,
        "extra": json_text(prompt.extra),
    }


def _file(content: Iterator[bytes], media_type: str, name: str) -> Response:
    return StreamingResponse(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
