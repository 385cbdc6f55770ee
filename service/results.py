"""What a finished selection found: one row per sample of its pool."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from minirec.store import Store
from minirec.store.columns import Columns
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord
from minirec.store.results import read_result
from service.content import open_content
from service.lookup import job_or_404
from service.problems import ProblemError

KEPT_BYTES = 512 * 1024**2
"""Results, and ids of datasets, that this process keeps unpacked, each: pages are asked for one after the other."""
BYTES_PER_ID = 120
"""About what an id takes in memory: the text, its place in the list and in the index."""


class SampleIds:
    """Ids of a dataset's samples in the order of its rows, and back."""

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids

    def __getitem__(self, row: int) -> str:
        return self._ids[row]

    @property
    def nbytes(self) -> int:
        """About how much memory they take."""
        return BYTES_PER_ID * len(self._ids)

    def row_of(self, sample_id: str) -> int:
        """Row of a sample. Raises KeyError."""
        hashes, order = self._index
        wanted = hash(sample_id)
        for place in range(int(np.searchsorted(hashes, wanted)), len(hashes)):
            if hashes[place] != wanted:
                break
            if self._ids[order[place]] == sample_id:
                return int(order[place])
        raise KeyError(sample_id)

    @cached_property
    def _index(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Hashes of the ids, sorted, and their rows: an eighth of what a dictionary takes."""
        hashes = np.fromiter(map(hash, self._ids), dtype=np.int64, count=len(self._ids))
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order


@dataclass(frozen=True)
class Result:
    """The columns of a finished selection, `(N, ...)` each, and the ids of all samples of its dataset."""

    content_hash: str
    columns: Columns
    ids: SampleIds

    @property
    def nbytes(self) -> int:
        """How much memory the columns take, and the orders that follow from them."""
        return sum(values.nbytes for values in self.columns.values()) + 32 * len(self.columns["row"])

    def sample_id(self, position: int) -> str:
        """Id of the sample at a position of the pool."""
        return self.ids[int(self.columns["row"][position])]

    def position_of(self, sample_id: str) -> int:
        """Position of a sample in the pool. Raises KeyError."""
        rows = self.columns["row"]  # sorted
        row = self.ids.row_of(sample_id)
        position = int(np.searchsorted(rows, row))
        if position == len(rows) or rows[position] != row:
            raise KeyError(sample_id)
        return position

    def rank_of(self, position: int) -> int:
        """Place of a position in `rank_order`."""
        return int(self._ranks[position])

    @cached_property
    def rank_order(self) -> npt.NDArray[np.int64]:
        """All positions: the picked ones as they were picked, then the others, best score first."""
        rank = self.columns["picked_rank"].astype(np.int64)
        return np.lexsort((-self.columns["score"], np.where(rank < 0, len(rank), rank)))

    @cached_property
    def _ranks(self) -> npt.NDArray[np.int32]:
        ranks = np.empty(len(self.rank_order), dtype=np.int32)
        ranks[self.rank_order] = np.arange(len(ranks), dtype=np.int32)
        return ranks

    @cached_property
    def training_order(self) -> npt.NDArray[np.int64]:
        """Positions of the selected samples, in the order to train on them."""
        place = self.columns["training_position"]
        chosen = np.flatnonzero(place >= 0)
        return chosen[np.argsort(place[chosen])]

    def pass_rate(self, position: int) -> float:
        """Part of a sample's rollouts that hit."""
        return float(self.columns["hit"][position].mean(dtype=np.float64))

    def reward_mean(self, position: int) -> float:
        """Mean reward of a sample's rollouts."""
        return float(self.columns["rewards"][position].mean(dtype=np.float64))

    def representativeness(self, position: int) -> float | None:
        """R of a sample; None where no vectors were measured."""
        column = self.columns.get("representativeness")
        return None if column is None else float(column[position])


class Sized(Protocol):
    """Something that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        ...


V = TypeVar("V", bound=Sized)


class SizedCache(Generic[V]):
    """Values by key, the least recently used dropped when all together are too large; the newest always stays."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key, made where it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > 1 and sum(kept.nbytes for kept in self._values.values()) > self._max_bytes:
                self._values.popitem(last=False)
        return value


_results: SizedCache[Result] = SizedCache(KEPT_BYTES)
_ids: SizedCache[SampleIds] = SizedCache(KEPT_BYTES)


def result_of(store: Store, selection_id: str) -> Result:
    """The result of a selection that has succeeded. Raises ProblemError 404, 409 or 410."""
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
    columns = read_result(store, record)
    ids = _ids.get((store, content_hash), lambda: SampleIds(open_content(store, content_hash).ids))
    return Result(content_hash, columns, ids)
