"""The rows of a pool: drawn again where they are needed, and checked against the name of what is made of them."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from minirec.api_schemas.selections import PoolSettings
from minirec.data.dataset import SampleTable
from minirec.policy.report import PoolReport
from minirec.specs import rows_fingerprint
from minirec.specs.outputs import check_folder
from minirec.specs.selection import PoolOfRows
from minirec.store.blobs import BlobStore
from minirec.store.errors import BlobMissingError
from minirec.store.names import signals_blob
from minirec.worker.datasets import open_samples
from minirec.worker.work import UnitError

Rows = npt.NDArray[np.int64]


def draw_pool(dataset: SampleTable, pool: PoolSettings) -> Rows:
    """Return the sorted rows of a pool."""
    return _drawn(dataset, pool.split, pool.max_samples, pool.seed)


def with_signals(blobs: BlobStore, rows: Rows, signals: str) -> Rows:
    """Return those of the rows that have uploaded signals. Raises StoreError when these are gone."""
    return rows[np.isin(rows, blobs.get_array(signals_blob(signals), "rows"))]


def pool_of(blobs: BlobStore, spec: PoolOfRows, *, signals: str | None = None) -> Rows:
    """Return the rows that a spec works on, of those with uploaded `signals` where they are given.

    Raises UnitError where the draw differs from the one that named the spec, and StoreError.
    """
    rows = draw_pool(open_samples(blobs, spec.content_hash, spec.kind), spec.pool)
    if spec.left_out is not None:
        rows = rows[~np.isin(rows, _too_long(blobs, spec.left_out))]
    if signals is not None:
        rows = with_signals(blobs, rows, signals)
    if rows_fingerprint(rows) != spec.rows:
        raise UnitError(
            "pool_changed",
            "this worker draws another pool from the dataset than the one that the work was planned for: all workers "
            "need the same release of MiniRec and of numpy; start the job anew",
        )
    return rows


def read_report(blobs: BlobStore, check: str) -> PoolReport:
    """Return what the check of this name found. Raises BlobMissingError."""
    folder = check_folder(check)
    paths = [blobs.local_path(f"{folder}{file}") for file in blobs.files(folder)]
    if not paths:
        raise BlobMissingError(folder, blobs.url)
    return PoolReport.merged([PoolReport(**json.loads(path.read_bytes())) for path in paths])


@lru_cache(maxsize=4)
def _too_long(blobs: BlobStore, check: str) -> Rows:
    return np.array(read_report(blobs, check).too_long, dtype=np.int64)


@lru_cache(maxsize=4)
def _drawn(dataset: SampleTable, split: str | None, max_samples: int | None, seed: int) -> Rows:
    rows = dataset.pool(split=split, max_samples=max_samples, seed=seed)
    rows.flags.writeable = False
    return rows
