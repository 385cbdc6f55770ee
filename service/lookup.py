"""Records by id, or the 404 that says there is none."""

from __future__ import annotations

from api_schemas import Dataset
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord
from service.problems import ProblemError

KINDS = {"sel": "selection", "trn": "training_job"}
"""What the ids of jobs begin with."""


def dataset_or_404(store: Store, dataset_id: str) -> Dataset:
    """A dataset. Raises ProblemError 404."""
    try:
        return store.datasets.get(dataset_id)
    except NotFoundError as error:
        raise ProblemError(404, "dataset_not_found", f"there is no dataset {dataset_id}") from error


def job_or_404(store: Store, job_id: str) -> JobRecord:
    """A job, of the kind that its id says. Raises ProblemError 404."""
    try:
        return store.jobs.get(job_id)
    except NotFoundError as error:
        kind = KINDS[job_id.partition("_")[0]]
        raise ProblemError(404, f"{kind}_not_found", f"there is no {kind.replace('_', ' ')} {job_id}") from error
