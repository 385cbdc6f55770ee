"""`client.training_jobs`: train on a subset, follow the training, take back the adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from minirec.api_schemas import TRAINING_JOB, Artifact, EvaluationSettings, Page, Selection, TrainingArgs, TrainingJob
from minirec.api_schemas.training_jobs import Trainer
from minirec.client import exports
from minirec.client._async.files import replacing
from minirec.client._async.jobs import AsyncJobs, AsyncLiveJob
from minirec.client._async.transport import AsyncTransport
from minirec.client.core import Call
from minirec.client.refs import DatasetRef, JobRef, dataset_of, id_of
from minirec.client.selection_calls import Model, given, training_args
from minirec.client.threads import in_thread


class AsyncLiveTrainingJob(TrainingJob, AsyncLiveJob):
    """A training job, and what can be done with it."""

    _jobs: AsyncTrainingJobs = PrivateAttr()

    async def artifacts(self) -> Sequence[Artifact]:
        """Return the files that this job has left by now."""
        return await self._jobs.artifacts(self.id)

    async def download(self, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """Write all artifacts into a folder; see `AsyncTrainingJobs.download`."""
        return await self._jobs.download(self.id, folder)


class AsyncTrainingJobs(AsyncJobs[AsyncLiveTrainingJob]):
    """Start training jobs, follow them, download what they leave."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport, TRAINING_JOB, AsyncLiveTrainingJob)

    async def create(
        self,
        *,
        selection: str | Selection | None = None,
        dataset: DatasetRef | None = None,
        ids: Sequence[str] | None = None,
        model: Model | None = None,
        trainer: Trainer | None = None,
        args: TrainingArgs | Mapping[str, Any] | None = None,
        evaluation: EvaluationSettings | Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncLiveTrainingJob:
        """Start training on a finished selection's subset, or on samples of a dataset by `ids`, in that order.

        What is not given keeps the service's defaults.

        Args:
            selection: A finished selection, or its id.
            dataset: A dataset, or its id, in place of a selection.
            ids: Ids of its samples, in training order.
            model: Hub id, or a `ModelReference`; the selection's own unless given.
            trainer: `"rec_grpo"` for interactions, `"text_grpo"` for prompts.
            args: Settings of the trainer; `args["rewards"]` may hold names.
            evaluation: Which held-out samples to evaluate on.
            metadata: Kept with the job.

        Raises:
            ConflictError: The selection has no subset yet.
            UnprocessableError: Its `errors` name the settings at fault.
        """
        body = given(
            selection_id=None if selection is None else id_of(selection, "selection"),
            dataset_id=dataset_of(dataset),
            ids=None if ids is None else list(ids),
            model=model,
            trainer=trainer,
            args=None if args is None else training_args(args),
            evaluation=evaluation,
            metadata=metadata,
        )
        return await self._job(Call("POST", TRAINING_JOB.path, json=body))

    async def artifacts(self, job_id: JobRef) -> Sequence[Artifact]:
        """Return the files that a job has left by now: adapter, metrics, evaluation, log."""
        page = await self._transport.get(Call("GET", f"{self._path}/{self._id(job_id)}/artifacts"), Page[Artifact])
        return page.data

    async def download(self, job_id: JobRef, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """Write all artifacts into a folder, each whole or not at all; the folder is an adapter that PEFT loads."""
        target = Path(folder)
        await in_thread(target.mkdir, parents=True, exist_ok=True)
        written = []
        for artifact in await self.artifacts(job_id):
            name = exports.plain_name(artifact.name)
            call = Call("GET", f"{self._path}/{self._id(job_id)}/artifacts/{name}", headers={"Accept": "*/*"})
            async with replacing(target / name) as file:
                await self._transport.copy(call, file)
            written.append(target / name)
        return written
