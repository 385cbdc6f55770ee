# Generated from ../_async by scripts/unasync.py. Do not edit.
"""`client.training_jobs`: train on a subset, follow the training, take back the adapter."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from api_schemas import TRAINING_JOB, Artifact, EvaluationSettings, Page, TrainingArgs, TrainingJob
from api_schemas.training_jobs import Trainer
from minirec.client import exports
from minirec.client._sync.files import replacing
from minirec.client._sync.jobs import Jobs
from minirec.client._sync.transport import Transport
from minirec.client.core import Call
from minirec.client.selection_calls import Model, given, training_args


class StartedTrainingJob(TrainingJob):
    """A training job that was just started, and that can be waited for."""

    _jobs: Jobs[TrainingJob] = PrivateAttr()

    def wait(
        self, *, timeout: float | None = None, on_update: Callable[[TrainingJob], None] | None = None
    ) -> TrainingJob:
        """Return the finished training job; see `TrainingJobs.wait`."""
        return self._jobs.wait(self.id, timeout=timeout, on_update=on_update)


class TrainingJobs(Jobs[TrainingJob]):
    """Start training jobs, follow them, download what they leave."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, TRAINING_JOB, Page[TrainingJob])

    def create(
        self,
        *,
        selection: str | None = None,
        dataset: str | None = None,
        ids: Sequence[str] | None = None,
        model: Model | None = None,
        trainer: Trainer | None = None,
        args: TrainingArgs | Mapping[str, Any] | None = None,
        evaluation: EvaluationSettings | Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> StartedTrainingJob:
        """Start training on a finished selection's subset, or on samples of a dataset by `ids`, in that order.

        What is not given keeps the service's defaults.

        Args:
            selection: Id of a finished selection.
            dataset: Id of a dataset, in place of a selection.
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
            selection_id=selection,
            dataset_id=dataset,
            ids=None if ids is None else list(ids),
            model=model,
            trainer=trainer,
            args=None if args is None else training_args(args),
            evaluation=evaluation,
            metadata=metadata,
        )
        job = self._transport.get(Call("POST", "/v1/training_jobs", json=body), StartedTrainingJob)
        job._jobs = self
        return job

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """Return the files that a job has left by now: adapter, metrics, evaluation, log."""
        page = self._transport.get(Call("GET", f"/v1/training_jobs/{job_id}/artifacts"), Page[Artifact])
        return page.data

    def download(self, job_id: str, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """Write all artifacts into a folder, each whole or not at all; the folder is an adapter that PEFT loads."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for artifact in self.artifacts(job_id):
            name = exports.plain_name(artifact.name)
            call = Call("GET", f"/v1/training_jobs/{job_id}/artifacts/{name}", headers={"Accept": "*/*"})
            with replacing(target / name) as file:
                self._transport.copy(call, file)
            written.append(target / name)
        return written
