"""Results of selections: what was measured, stored once for all that share it, and what each of them chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minirec.store.columns import Columns
from minirec.store.jobs import JobRecord
from minirec.store.names import result_columns

if TYPE_CHECKING:
    from minirec.store import Store

MEASURED = "measured"
"""Field of a selection that names the columns with its rewards and hits; without it they are among its own."""


def read_result(store: Store, record: JobRecord) -> Columns:
    """Return the columns of a finished selection, `(N, ...)` each. Raises LostError."""
    columns = store.columns.read(result_columns(record.id))
    name = record.fields.get(MEASURED)
    return columns if name is None else columns | _measured(store.columns.read(name))


def _measured(scores: Columns) -> Columns:
    """Rewards and hits; scores of release 0.1 have more columns, and other names."""
    if "rewards" in scores:
        return scores
    return {"rewards": scores["reward"], "hit": scores["hit"] if "hit" in scores else scores["ndcg"] > 0}
