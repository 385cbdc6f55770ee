"""What a finished selection found: one row per sample of its pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from minirec.service.content import open_content
from minirec.service.lookup import job_or_404
from minirec.service.problems import ProblemError
from minirec.service.recent import Recent
from minirec.store import Store
from minirec.store.columns import Columns
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord
from minirec.store.results import read_result

KEPT_BYTES = 256 << 20
"""Most bytes of results, and of sample ids, that a process keeps in memory."""
ORDERS_KEPT = 2
"""Orders of a result that are kept: pages of a list are asked for one after the other."""


@dataclass(frozen=True)
class Result:
    """The columns of a finished selection, `(N, ...)` each, and the ids of all samples of its dataset."""

    content_hash: str
    columns: Columns
    dataset_ids: pa.StringArray
    _orders: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Samples in the pool."""
        return len(self.columns["row"])

    def sample_id(self, position: int) -> str:
        """Return the id of the sample at a position of the pool."""
        return str(self.dataset_ids[int(self.columns["row"][position])].as_py())

    def position_of(self, sample_id: str) -> int:
        """Return the position of a sample in the pool. Raises KeyError."""
        rows = self.columns["row"]  # sorted
        row = pc.index(self.dataset_ids, sample_id).as_py()
        position = int(np.searchsorted(rows, row))
        if row < 0 or position == len(rows) or rows[position] != row:
            raise KeyError(sample_id)
        return position

    def ordered(self, by: str) -> npt.NDArray[np.integer[Any]]:
        """Return all positions in an order: `pool`, `rank`, or highest first by a number that scores have."""
        if by not in self._orders:
            while len(self._orders) >= ORDERS_KEPT:
                self._orders.pop(next(iter(self._orders)), None)
            self._orders[by] = self._sorted(by).astype(np.int32)
        return self._orders[by]

    def _sorted(self, by: str) -> npt.NDArray[np.integer[Any]]:
        if by == "pool":
            return np.arange(self.size)
        if by == "rank":
            return self.rank_order
        if by == "reward":
            values = self.reward_means
        elif by == "spread":
            values = self.columns["rewards"].std(axis=1, dtype=np.float64)
        else:
            values = self.columns.get(by, np.full(self.size, np.nan))
        return np.argsort(-values, kind="stable")

    @cached_property
    def reward_means(self) -> npt.NDArray[np.float64]:
        """(N,) mean reward of each sample's rollouts."""
        means: npt.NDArray[np.float64] = self.columns["rewards"].mean(axis=1, dtype=np.float64)
        return means

    @cached_property
    def rank_order(self) -> npt.NDArray[np.int64]:
        """All positions: the picked ones as they were picked, then the others, best score first."""
        rank = self.columns["picked_rank"].astype(np.int64)
        return np.lexsort((-self.columns["score"], np.where(rank < 0, len(rank), rank)))

    @cached_property
    def training_order(self) -> npt.NDArray[np.int64]:
        """Positions of the selected samples, as training should see them."""
        place = self.columns["training_position"]
        chosen = np.flatnonzero(place >= 0)
        return chosen[np.argsort(place[chosen])]

    def pass_rate(self, position: int) -> float:
        """Return the part of a sample's rollouts that hit."""
        return float(self.columns["hit"][position].mean(dtype=np.float64))

    def reward_mean(self, position: int) -> float:
        """Return the mean reward of a sample's rollouts."""
        return float(self.columns["rewards"][position].mean(dtype=np.float64))

    def representativeness(self, position: int) -> float | None:
        """Return R of a sample; None where no vectors were measured."""
        column = self.columns.get("representativeness")
        return None if column is None else float(column[position])


def result_of(store: Store, selection_id: str) -> Result:
    """Return the result of a selection that has succeeded. Raises ProblemError 404, 409 or 410."""
    record = job_or_404(store, selection_id)
    if record.status != "succeeded":
        raise ProblemError(
            409, "not_finished", f"{selection_id} is {record.status}; it has scores and a subset once it has succeeded"
        )
    try:
        dataset = store.datasets.get(record.fields["dataset_id"])
    except NotFoundError as error:
        raise ProblemError(
            410, "dataset_deleted", f"the dataset of {selection_id} was deleted, and the ids of its samples with it"
        ) from error
    return _results.get((store, selection_id), lambda: _read(store, record, dataset.content_hash))


def _read(store: Store, record: JobRecord, content_hash: str) -> Result:
    ids = _ids.get((store, content_hash), lambda: pa.array(open_content(store, content_hash).ids, pa.string()))
    return Result(content_hash, read_result(store, record), ids)


def _result_bytes(result: Result) -> int:
    # What is worked out later, orders and means, takes about as much as four columns of 8 bytes.
    return sum(values.nbytes for values in result.columns.values()) + 32 * result.size


# Pages of one result are asked for one after the other, and results never change.
_results: Recent[tuple[Store, str], Result] = Recent(_result_bytes, limit=KEPT_BYTES)
_ids: Recent[tuple[Store, str], pa.StringArray] = Recent(lambda ids: int(ids.nbytes), limit=KEPT_BYTES)
