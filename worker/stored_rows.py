"""Rows that a spec of a training job names: written with the plan, as columns of the spec's name."""

from __future__ import annotations

import numpy as np

from minirec.specs.training import PolicyOnRows
from minirec.store import Store
from minirec.worker.pools import Rows

Write = tuple[str, str, bytes]


def writes_of_rows(store: Store, spec: PolicyOnRows, **rows: Rows) -> list[Write]:
    """Return the writes that store rows by their use, for the commit of the plan: all of it or nothing is there."""
    return [
        write
        for use, values in rows.items()
        for write in store.columns.shards_of(spec.rows_columns(use), {"row": values.astype(np.int64)})
    ]


def stored_rows(store: Store, spec: PolicyOnRows, use: str) -> list[int]:
    """Return the rows for a use, in order. Raises StoreError when they are gone."""
    rows: list[int] = store.columns.read(spec.rows_columns(use))["row"].tolist()
    return rows
