"""What is known of a pool before choosing: measured by our own scoring, or uploaded from a run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minirec.api_schemas import SelectionCreate
from minirec.api_schemas.selections import SIGNALS, PoolSettings, Signal
from minirec.selection import Choice, Gradients, Vector, default_choice
from minirec.specs import DeviceType, ScoreSpec
from minirec.store import Store
from minirec.store.names import signals_blob
from minirec.worker.groups import spec_of_group
from minirec.worker.pools import Rows
from minirec.worker.shards import DEVICES

Array = npt.NDArray[Any]

MEASURED = ("reward", "hit", "ndcg", "signal", "target_probability")


@dataclass(frozen=True)
class Measured:
    """One row per pool sample, in dataset order."""

    rows: npt.NDArray[np.int64]
    """(N,) row numbers in the dataset."""
    rewards: npt.NDArray[np.float64]
    """(N, G)."""
    hits: npt.NDArray[np.bool_] | None
    """(N, G); None where the upload does not say."""
    signal: npt.NDArray[np.int8]
    """(N,) where the vectors come from: `SIGNALS`."""
    vectors: Array | None
    """(N, d)."""
    embeddings: Array | None
    """(N, e)."""
    target_probability: Array | None = None
    """(N, G) of the target under the softmax over the catalogue; None for prompts."""
    devices: tuple[DeviceType, ...] = ()
    """What the samples were scored on; empty where that is not known."""


def load_scored(store: Store, request: SelectionCreate, scoring: str, rows: Rows) -> Measured:
    """Return what the scoring stage measured of the pool's rows. Raises StoreError when parts of it are gone."""
    units, spec = spec_of_group(store, ScoreSpec, scoring)
    # Results show them from there: what is lost of them is noticed now.
    store.columns.read(spec.columns, shards=units)
    name = vector_name(request)
    wanted = {name, "embedding", "device", *MEASURED}
    shards = store.blobs.get_all_arrays(spec.shard_blob(shard) for shard in range(units))
    parts = [{key: values for key, values in arrays.items() if key in wanted} for arrays in shards]
    scores = {
        key: np.concatenate([part[key] for part in parts]) for key in parts[0] if all(key in part for part in parts)
    }
    vectors, embeddings, signal = scores[name], scores["embedding"], scores["signal"]
    if name == "teacher":
        signal = np.where(vectors.any(axis=1), SIGNALS.index("teacher"), SIGNALS.index("none")).astype(signal.dtype)
    return Measured(
        rows=rows,
        rewards=scores["reward"],
        hits=scores["hit"].astype(bool) if "hit" in scores else scores["ndcg"] > 0,
        signal=signal,
        vectors=vectors,
        embeddings=embeddings,
        target_probability=scores.get("target_probability"),
        devices=tuple(DEVICES[number] for number in np.unique(scores["device"])) if "device" in scores else (),
    )


def load_gradients(store: Store, scoring: str) -> Gradients:
    """Return the teacher-forced gradients of scored samples. Raises StoreError when they are gone."""
    units, spec = spec_of_group(store, ScoreSpec, scoring)
    shards = [store.blobs.get_arrays(spec.shard_blob(shard)) for shard in range(units)]
    vectors, embeddings = (np.concatenate([shard[name] for shard in shards]) for name in ("teacher", "embedding"))
    return Gradients(vectors, embeddings)


def load_uploaded(store: Store, request: SelectionCreate, signals: str, rows: Rows) -> Measured:
    """Return what was uploaded for the pool's rows. Raises StoreError when it is gone."""
    arrays = store.blobs.get_arrays(signals_blob(signals))
    if len(rows) < len(arrays["rows"]):  # Most pools are all of it, and need no copy of some gigabytes.
        at = np.searchsorted(arrays["rows"], rows)
        arrays = {name: values[at] for name, values in arrays.items()}
    hits, vectors, embeddings = (arrays.get(name) for name in ("hits", "vectors", "embeddings"))
    kind: Signal = "teacher" if vector_name(request) == "teacher" else "policy"
    signal = SIGNALS.index("none" if vectors is None else kind)
    return Measured(
        rows=rows,
        rewards=arrays["rewards"],
        hits=None if hits is None else hits.astype(bool),
        signal=np.full(len(rows), signal, dtype=np.int8),
        vectors=vectors,
        embeddings=embeddings,
    )


def choice_of(request: SelectionCreate, *, has_vectors: bool = True) -> Choice:
    """Return how a request's samples are chosen."""
    weights = request.weights
    if weights.choice is not None:
        return weights.choice
    return default_choice(request.profile, vector_name(request), weights.alpha, has_vectors=has_vectors)


def validation_pool(request: SelectionCreate) -> PoolSettings | None:
    """Return how the samples are drawn whose mean gradient is matched; None for a choice that looks at the pool alone.

    The dataset may have none of them.
    """
    weights = request.weights
    by_model = request.signals is None and request.rewards is None
    if not by_model or weights.towards == "pool" or choice_of(request) != "matching" or request.pool.split == "valid":
        return None
    return PoolSettings(split="valid", max_samples=weights.validation_samples, seed=request.pool.seed)


def vector_name(request: SelectionCreate) -> Vector:
    """Return the vector behind R: as asked, else the profile's own. Prompts have no teacher-forced ones.

    Of uploaded vectors it says what they are.
    """
    if request.weights.vector is not None:
        return request.weights.vector
    if request.profile == "paper":
        return "hvp"
    return "teacher" if request.rewards is None else "gradient"
