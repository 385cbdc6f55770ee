"""What looks odd in uploaded data, shown as Python's own warnings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from minirec.api_schemas import Dataset


class DatasetWarning(UserWarning):
    """Something in an uploaded dataset looks odd; `dataset.warnings` has it, too."""


def dataset_warnings(dataset: Dataset) -> Sequence[str]:
    """Return what the service found odd in a dataset; an older service sends nothing."""
    return getattr(dataset, "warnings", None) or []


def warn_of(dataset: Dataset) -> Dataset:
    """Return the dataset, and warn the caller's caller of what looks odd in it."""
    for text in dataset_warnings(dataset):
        warnings.warn(f"{dataset.name or dataset.id}: {text}", DatasetWarning, stacklevel=3)
    return dataset
