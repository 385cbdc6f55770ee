"""Routes of what a training job left: its adapter, its numbers, its log."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Path
from starlette.responses import StreamingResponse

from minirec.api_schemas import Artifact, Page
from minirec.service.dependencies import StoreOf, TrainingJobId
from minirec.service.files import pieces
from minirec.service.lookup import job_or_404
from minirec.service.problems import ProblemError, problems
from minirec.store import Store

Name = Literal["adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "evaluation.json", "train.log"]

LOG = "train.log"
BYTES = "application/octet-stream"
EVENTS_AT_ONCE = 1000

router = APIRouter(
    prefix="/v1/training_jobs/{training_job_id}/artifacts",
    tags=["training jobs"],
    responses=problems(401, 404, 422, 503),
)


@router.get("")
def list_artifacts(store: StoreOf, training_job_id: TrainingJobId) -> Page[Artifact]:
    """The files that are there by now. The log always is; the adapter comes when training is through."""
    blobs = _blobs(store, training_job_id)
    sizes = {name: store.blobs.local_path(blob).stat().st_size for name, blob in blobs.items()}
    sizes[LOG] = len(_log(store, training_job_id))
    return Page(data=[Artifact(name=name, bytes=size) for name, size in sorted(sizes.items())], has_more=False)


@router.get(
    "/{name}",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file", "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
def get_artifact(
    store: StoreOf, training_job_id: TrainingJobId, name: Annotated[Name, Path(description="One of those listed")]
) -> StreamingResponse:
    """One file. The adapter's two, in one folder, are what PEFT and a model reference's `adapter` read."""
    if name == LOG:
        content = _log(store, training_job_id)
        return _file(io.BytesIO(content), name, len(content))
    blobs = _blobs(store, training_job_id)
    if name not in blobs:
        raise ProblemError(
            404,
            "artifact_not_found",
            f"{training_job_id} has no {name} yet; it has {', '.join(sorted((*blobs, LOG)))}",
        )
    path = store.blobs.local_path(blobs[name])
    return _file(path.open("rb"), name, path.stat().st_size)


def _file(file: IO[bytes], name: str, size: int) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(pieces(file), media_type=BYTES, headers=headers)


def _blobs(store: Store, job_id: str) -> dict[str, str]:
    """Blob of every file that is there. Raises ProblemError 404."""
    planned: dict[str, str] = job_or_404(store, job_id).json("artifacts") or {}
    return {name: blob for name, blob in planned.items() if store.blobs.exists(blob)}


def _log(store: Store, job_id: str) -> bytes:
    """The job's events as lines for people. Raises ProblemError 404."""
    job_or_404(store, job_id)
    return "".join(f"{line}\n" for line in _lines(store, job_id)).encode()


def _lines(store: Store, job_id: str) -> Iterator[str]:
    after, first = None, True
    while events := store.events.read(job_id, after=after, limit=EVENTS_AT_ONCE):
        if first and events[0].data.get("status") != "queued":
            yield "(the oldest lines were dropped; metrics.jsonl has every update)"
        for event in events:
            if event.type in WORDS:
                at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
                yield f"{at}  {WORDS[event.type](event.data)}"
        after, first = events[-1].id, False


def _metrics(data: dict[str, Any]) -> str:
    ndcg = f"NDCG@10 {data['ndcg10']:.4f}, " if "ndcg10" in data else ""
    return (
        f"update {data['update']} (epoch {data['epoch']}): loss {data['loss']:.4f}, reward {data['reward_mean']:.4f}, "
        f"{ndcg}{data['tokens_per_second']:.0f} tokens/s, {data['seconds']:.1f} s"
    )


def _evaluation(data: dict[str, Any]) -> str:
    if "ndcg10" in data:
        found = f"NDCG@10 {data['ndcg10']:.4f}, HR@10 {data['hr10']:.4f}"
    else:
        found = f"mean reward {data['reward_mean']:.4f}, pass rate {data['pass_rate']:.4f}"
    return f"{data['split']} after update {data['update']}: {found}"


WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "status": lambda data: data["status"],
    "stage": lambda data: data["stage"].replace("_", " "),
    "metrics": _metrics,
    "evaluation": _evaluation,
    "warning": lambda data: f"warning: {data['message']}",
    "retry": lambda data: f"attempt {data['attempt']} ended: {data['reason']}",
    "error": lambda data: f"failed: {data['message']} ({data['code']})",
}
"""How each type of event reads; progress is left out, since metrics say more."""
