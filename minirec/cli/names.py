"""Datasets and selections by the names that people give: an exact name of a dataset does as well as an id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from minirec.api_schemas import SELECTION, Dataset, Selection
from minirec.api_schemas.jobs import id_pattern
from minirec.cli.errors import CommandError
from minirec.cli.output import ago
from minirec.client import MiniRec

DATASET_ID = re.compile(id_pattern("ds"))
SELECTION_ID = re.compile(SELECTION.id_pattern)
SHOWN = 10
"""Ids that are listed where a name is not enough."""


def dataset_id(client: MiniRec, text: str) -> str:
    """Return the id of a dataset that was given by id or exact name.

    Raises CommandError where no dataset has the name, or where several have it: which is meant is not guessed.
    """
    if DATASET_ID.match(text):
        return text
    found = datasets_named(client, text)
    if len(found) > 1:
        lines = (f"{dataset.id}  {dataset.n_samples:,} samples, {ago(dataset.created_at)}" for dataset in found)
        raise CommandError(f"{len(found)} datasets have the name {text!r}. Give the id of one:\n{listed(lines)}")
    return found[0].id


def selection_id(client: MiniRec, text: str) -> str:
    """Return the id of a selection that was given by its id, or by the exact name of the dataset it was made from.

    Raises CommandError where there is none, or where several were made: which is meant is not guessed.
    """
    if SELECTION_ID.match(text):
        return text
    datasets = datasets_named(client, text)
    found: list[Selection] = [made for each in datasets for made in client.selections.list(dataset=each)]
    if not found:
        raise CommandError(f"nothing was selected from the dataset {text!r}; minirec select --dataset does that")
    if len(found) > 1:
        lines = (f"{each.id}  {each.status}, size {each.request.size:g}, {ago(each.created_at)}" for each in found)
        raise CommandError(f"{len(found)} selections were made from {text!r}. Give the id of one:\n{listed(lines)}")
    return found[0].id


def datasets_named(client: MiniRec, name: str) -> list[Dataset]:
    """Return the datasets of a name, newest first. Raises CommandError where there is none."""
    found = list(client.datasets.list(name=name))
    if not found:
        near = get_close_matches(name, {dataset.name for dataset in client.datasets.list() if dataset.name}, n=3)
        advice = (
            f"did you mean {' or '.join(map(repr, near))}?" if near else "minirec datasets list shows what there is"
        )
        raise CommandError(f"{name!r} is neither the id nor the name of a dataset; {advice}")
    return found


def listed(lines: Iterable[str]) -> str:
    """Return lines under each other, the first of them where there are many."""
    found = list(lines)
    rest = [f"  ... and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n".join([*(f"  {line}" for line in found[:SHOWN]), *rest])
