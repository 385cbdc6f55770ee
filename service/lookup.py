"""Records by id, or a 404 if there is no such record."""

from __future__ import annotations

from minirec.api_schemas import Dataset, kind_of
from minirec.service.problems import ProblemError
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord


def dataset_or_404(store: Store, dataset_id: str) -> Dataset:
    """Return a dataset that is ready. Raises ProblemError 404, or 409 for one that is not ready."""
    try:
        return store.datasets.get(dataset_id)
    except NotFoundError as error:
        try:
            store.datasets.get_unready(dataset_id)
        except NotFoundError:
            raise dataset_missing(dataset_id) from error
        detail = f"{dataset_id} is not ready: its files are being checked, or were found faulty; GET it to see"
        raise ProblemError(409, "dataset_not_ready", detail) from error


def dataset_missing(dataset_id: str) -> ProblemError:
    """Return the answer where there is no such dataset."""
    return ProblemError(404, "dataset_not_found", f"there is no dataset {dataset_id}")


def job_or_404(store: Store, job_id: str) -> JobRecord:
    """Return a job. Raises ProblemError 404."""
    try:
        return store.jobs.get(job_id)
    except NotFoundError as error:
        kind = kind_of(job_id)
        raise ProblemError(404, f"{kind.name}_not_found", f"there is no {kind.title} {job_id}") from error
