"""Route of a selection's export: a folder that a trainer reads, as a zip file."""

from __future__ import annotations

import tempfile
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from minirec.api_schemas.exports import ExportFormat
from minirec.data.exports import AnswerMissingError, Pick, Row, Scores, SourceMissingError, build_rows, write_export
from minirec.service.content import open_content
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.files import pieces
from minirec.service.lookup import dataset_or_404, job_or_404
from minirec.service.problems import invalid, problems
from minirec.service.results import Result, result_of
from minirec.service.views import selection_view
from minirec.store import Store

ZIP = "application/zip"
PROVENANCE = {"id", "dataset_id", "request", "result", "provenance", "metadata"}
"""Fields of a selection that say where its rows come from."""

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


@router.get(
    "/{selection_id}/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A zip file: data, manifest.json, and a README.md with the flags that keep the order",
            "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def export_selection(
    store: StoreOf,
    selection_id: SelectionId,
    format: Annotated[ExportFormat, Query(description="Whose files: a trainer's, or plain ones")],
    batch_size: Annotated[
        int | None,
        Query(ge=1, le=1_000_000, description="Prompts in a batch of the trainer, to warn about rows that fill none"),
    ] = None,
    source: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=256,
            description="Data source of the rows that name none themselves (verl chooses the reward function by it); "
            "the dataset's name if null",
        ),
    ] = None,
) -> StreamingResponse:
    """Return the selected samples in training order, with prompts and answers, as a trainer reads them."""
    result = result_of(store, selection_id)
    selection = selection_view(job_or_404(store, selection_id))
    dataset = dataset_or_404(store, selection.dataset_id)
    window = selection.request.rollouts.window
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by pieces, once the client has it)
    try:
        write_export(
            file,
            format,
            _rows(store, result, window=window, source=source or dataset.name),
            kind=dataset.kind,
            selection={
                **selection.model_dump(mode="json", include=PROVENANCE),
                "dataset_content_hash": result.content_hash,
            },
            window=window,
            batch_size=batch_size,
        )
    except SourceMissingError as error:
        file.close()
        raise invalid("source_missing", ("query", "source"), str(error)) from error
    except AnswerMissingError as error:
        file.close()
        raise invalid("answer_missing", ("query", "format"), str(error)) from error
    size = file.tell()
    file.seek(0)
    name = f"{selection_id}-{format}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(pieces(file), media_type=ZIP, headers=headers)


def _rows(store: Store, result: Result, **options: Any) -> list[Row]:
    picks = [_pick(result, int(position)) for position in result.training_order]
    return build_rows(open_content(store, result.content_hash), picks, **options)


def _pick(result: Result, position: int) -> Pick:
    columns = result.columns
    rewards = columns["rewards"][position]
    return Pick(
        row=int(columns["row"][position]),
        rank=int(columns["picked_rank"][position]),
        stage=int(columns["group"][position]),
        scores=Scores(
            pass_rate=result.pass_rate(position),
            reward_mean=result.reward_mean(position),
            reward_std=float(rewards.std()),
            n_rollouts=len(rewards),
            learnability=float(columns["learnability"][position]),
            representativeness=result.representativeness(position),
        ),
    )
