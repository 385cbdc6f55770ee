# Generated from ../_async by scripts/unasync.py. Do not edit.
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
from minirec.client._sync.files import replacing
from minirec.client._sync.jobs import Jobs, LiveJob
from minirec.client._sync.transport import Transport
from minirec.client.core import Call
from minirec.client.refs import DatasetRef, JobRef, dataset_of, id_of
from minirec.client.selection_calls import Model, given, training_args


class LiveTrainingJob(TrainingJob, LiveJob):
    """A training job, and what can be done with it."""

    _jobs: TrainingJobs = PrivateAttr()

    def artifacts(self) -> Sequence[Artifact]:
        """Return the files that this job has left by now."""
        return self._jobs.artifacts(self.id)

    def download(self, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """Write all artifacts into a folder; see `TrainingJobs.download`."""
        return self._jobs.download(self.id, folder)


class TrainingJobs(Jobs[LiveTrainingJob]):
    """Start training jobs, follow them, download what they leave."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, TRAINING_JOB, LiveTrainingJob)

    def create(
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
    ) -> LiveTrainingJob:
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
        return self._job(Call("POST", TRAINING_JOB.path, json=body))

    def artifacts(self, job_id: JobRef) -> Sequence[Artifact]:
        """Return the files that a job has left by now: adapter, metrics, evaluation, log."""
        page = self._transport.get(Call("GET", f"{self._path}/{self._id(job_id)}/artifacts"), Page[Artifact])
        return page.data

    def download(self, job_id: JobRef, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """Write all artifacts into a folder, each whole or not at all; the folder is an adapter that PEFT loads."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for artifact in self.artifacts(job_id):
            name = exports.plain_name(artifact.name)
            call = Call("GET", f"{self._path}/{self._id(job_id)}/artifacts/{name}", headers={"Accept": "*/*"})
            with replacing(target / name) as file:
                self._transport.copy(call, file)
            written.append(target / name)
        return written
