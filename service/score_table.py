"""Route of a selection's scores as one Parquet file: all rows at once."""

from __future__ import annotations

import tempfile
from typing import IO, Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from minirec.api_schemas.common import LARGEST
from minirec.api_schemas.selections import GATE_VERDICTS, SIGNALS
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.files import pieces
from minirec.service.problems import problems
from minirec.service.results import Result, result_of
from minirec.service.scores import Filters, Order, listed
from minirec.service.subset import PARQUET

CHUNK_ROWS = 65_536

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reward_mean", pa.float64(), nullable=False),
        pa.field("reward_std", pa.float64(), nullable=False),
        pa.field("rewards", pa.list_(pa.float64()), nullable=False),
        pa.field("hit", pa.list_(pa.bool_()), nullable=False),
        pa.field("pass_rate", pa.float64(), nullable=False),
        pa.field("learnability", pa.float64(), nullable=False),
        pa.field("learnability_raw", pa.float64(), nullable=False),
        pa.field("representativeness", pa.float64()),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("gate", pa.string(), nullable=False),
        pa.field("gate_value", pa.float64()),
        pa.field("signal", pa.string(), nullable=False),
        pa.field("picked_rank", pa.int64()),
        pa.field("training_position", pa.int64()),
    ]
)
"""`SampleScore`."""

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


@router.get(
    "/{selection_id}/scores.parquet",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The scores",
            "content": {
                PARQUET: {"schema": {"type": "string", "format": "binary", "description": "Columns as `SampleScore`"}}
            },
        }
    },
)
def get_score_table(
    store: StoreOf,
    selection_id: SelectionId,
    filters: Annotated[Filters, Depends()],
    limit: Annotated[
        int | None, Query(ge=0, le=LARGEST, description="Only the first so many rows; all of them if null")
    ] = None,
    order: Annotated[Order, Query(description="As of `GET .../scores`")] = "pool",
    ascending: Annotated[bool, Query(description="Turns the order around")] = False,
) -> StreamingResponse:
    """Return the scores of the samples in the pool as one Parquet file."""
    result = result_of(store, selection_id)
    positions = listed(result, filters, order, ascending=ascending)[:limit]
    headers = {"Content-Disposition": f'attachment; filename="{selection_id}-scores.parquet"'}
    return StreamingResponse(pieces(_written(result, positions)), media_type=PARQUET, headers=headers)


def _written(result: Result, positions: npt.NDArray[np.integer[Any]]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by pieces, once the client has it)
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for start in range(0, len(positions), CHUNK_ROWS):
            writer.write_table(score_table(result, positions[start : start + CHUNK_ROWS]))
    file.seek(0)
    return file


def score_table(result: Result, positions: npt.NDArray[np.integer[Any]]) -> pa.Table:
    """Return what was measured of the samples at positions of the pool, a row each."""
    columns = {name: values[positions] for name, values in result.columns.items()}
    rewards, gate = columns["rewards"], columns["gate"]
    # As service/scores.py says it of one sample.
    deciding = {"too_hard": rewards.max(axis=1), "too_easy": rewards.min(axis=1), "no_spread": rewards.std(axis=1)}
    verdicts = [gate == GATE_VERDICTS.index(name) for name in deciding]
    gate_value = np.select(verdicts, list(deciding.values()), np.nan)
    arrays = [
        result.dataset_ids.take(pa.array(columns["row"])),
        rewards.mean(axis=1, dtype=np.float64),
        rewards.std(axis=1, dtype=np.float64),
        _lists(rewards.astype(np.float64)),
        _lists(columns["hit"].astype(bool)),
        columns["hit"].mean(axis=1, dtype=np.float64),
        *(columns[name].astype(np.float64) for name in ("learnability", "learnability_raw")),
        _or_null(columns.get("representativeness", np.full(len(gate), np.nan))),
        columns["score"].astype(np.float64),
        np.array(GATE_VERDICTS, object)[gate],
        _or_null(gate_value),
        np.array(SIGNALS, object)[columns["signal"]],
        *(_rank(columns[name]) for name in ("picked_rank", "training_position")),
    ]
    return pa.table([pa.array(values) for values in arrays], SCHEMA.names).cast(SCHEMA)


def _lists(values: npt.NDArray[Any]) -> pa.ListArray:
    """Return (N, G) values as N lists."""
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def _or_null(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers; null where there is none."""
    return pa.array(values.astype(np.float64), mask=np.isnan(values))


def _rank(values: npt.NDArray[Any]) -> pa.Array:
    """Return 0-based places; null where there is none."""
    return pa.array(values.astype(np.int64), mask=values < 0)
