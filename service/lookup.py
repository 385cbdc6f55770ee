"""Records by id, or the 404 that says there is none."""

from __future__ import annotations

from api_schemas import Dataset
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord
from service.problems import ProblemError


def dataset_or_404(store: Store, dataset_id: str) -> Dataset:
    """A dataset. Raises ProblemError 404."""
    try:
        return store.datasets.get(dataset_id)
    except NotFoundError as error:
        raise ProblemError(404, "dataset_not_found", f"there is no dataset {dataset_id}") from error


def selection_or_404(store: Store, selection_id: str) -> JobRecord:
    """A selection's job. Raises ProblemError 404."""
    try:
        return store.jobs.get(selection_id)
    except NotFoundError as error:
        raise ProblemError(404, "selection_not_found", f"there is no selection {selection_id}") from error
