"""Objects in place of ids: whatever the SDK handed out stands for itself."""

from __future__ import annotations

from minirec.api_schemas import Dataset, Job, SampleExplanation, SampleScore, SubsetRow

DatasetRef = str | Dataset
JobRef = str | Job
SampleRef = str | SampleScore | SubsetRow | SampleExplanation


def id_of(given: object, kind: str) -> str:
    """Return an id that was given as text, or the id of an object of a kind (`dataset`, `selection`, ...).

    Raise TypeError for anything else.
    """
    if isinstance(given, str):
        return given
    found = getattr(given, "object", None) or type(given).__name__
    if not isinstance(given, Dataset | Job) or found != kind:
        wanted, got = kind.replace("_", " "), str(found).replace("_", " ")
        raise TypeError(f"a {wanted} or its id is expected, and this is {got!r}")
    return given.id


def dataset_of(given: DatasetRef | None) -> str | None:
    """Return the id of a dataset, null for null. Raise TypeError."""
    return None if given is None else id_of(given, "dataset")


def sample_of(given: SampleRef) -> str:
    """Return the id of a sample. Raise TypeError."""
    if isinstance(given, SampleExplanation):
        return given.score.id
    if isinstance(given, SampleScore | SubsetRow):
        return given.id
    return id_of(given, "sample")
