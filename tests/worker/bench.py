"""A deployment without Celery: units are done in the test's own process, when the test says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minirec.api_schemas import EvaluationCreate, SelectionCreate, TrainingJobCreate
from minirec.settings import Settings
from minirec.specs import PrepareEvaluation, PrepareSelection, PrepareTraining
from minirec.store import Store
from minirec.store.ids import new_id
from minirec.store.machine import Doorbell
from minirec.store.results import read_result
from minirec.worker.runner import Runner


@dataclass
class Bench:
    """A deployment without Celery: doorbells are collected, and heard when the test says so."""

    store: Store
    settings: Settings
    runner: Runner
    dataset_id: str
    doorbells: list[Doorbell] = field(default_factory=list)

    def create(self, **changes: Any) -> str:
        """Queue a selection of the dataset and return its id."""
        body = {
            "dataset_id": self.dataset_id,
            "model": {"source": "local", "id": "tiny"},
            "size": 10,
            "rollouts": {"group_size": 2, "max_new_tokens": 6},
            "weights": {"gate": {"enabled": False}},
            "curriculum": {"group_size": 4},
        } | changes
        request = SelectionCreate.model_validate(body)
        job = new_id("sel")
        self.store.machine.create(
            job,
            "selection",
            {"request": request.model_dump_json(), "dataset_id": request.dataset_id},
            [PrepareSelection(job_id=job).stage("preparing")],
        )
        return job

    def train(self, **changes: Any) -> str:
        """Queue a training job as the service does, and return its id."""
        request = TrainingJobCreate.model_validate(
            {
                "dataset_id": self.dataset_id,
                "ids": ["s000", "s001"],
                "model": {"source": "local", "id": "tiny"},
            }
            | changes
        )
        job = new_id("trn")
        self.store.machine.create(
            job,
            "training_job",
            {"request": request.model_dump_json(), "dataset_id": self.dataset_id},
            [PrepareTraining(job_id=job).stage("preparing")],
        )
        return job

    def evaluate(self, **changes: Any) -> str:
        """Queue an evaluation as the service does, and return its id."""
        request = EvaluationCreate.model_validate(
            {"dataset_id": self.dataset_id, "model": {"source": "local", "id": "tiny"}} | changes
        )
        job = new_id("evl")
        self.store.machine.create(
            job,
            "evaluation",
            {"request": request.model_dump_json(), "dataset_id": self.dataset_id},
            [PrepareEvaluation(job_id=job).stage("preparing")],
        )
        return job

    def hear(self, *, queue: str | None = None, limit: int | None = None) -> list[str]:
        """Answer doorbells, those that they lead to as well; returns what came of each unit."""
        outcomes: list[str] = []
        while limit is None or len(outcomes) < limit:
            index = next((i for i, bell in enumerate(self.doorbells) if queue in (None, bell.queue)), None)
            if index is None:
                break
            bell = self.doorbells.pop(index)
            outcomes.append(self.runner.run(bell))
        return outcomes

    def result(self, job: str) -> dict[str, Any]:
        """The finished selection's columns."""
        record = self.store.jobs.get(job)
        assert record.status == "succeeded", record.fields.get("error")
        return read_result(self.store, record)
