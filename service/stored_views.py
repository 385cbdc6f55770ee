"""What lies beside a finished selection in the blob store: texts, embeddings, its map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minirec.service.recent import Recent
from minirec.specs import ScoreSpec, SpecRefused, outputs
from minirec.store import Store
from minirec.store.blobs import Arrays
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord
from minirec.store.names import signals_blob
from minirec.store.results import MEASURED
from minirec.store.texts import KeptText, decode_texts

KEPT_BYTES = 256 << 20
"""Most bytes of maps, picked embeddings and uploaded signals that a process keeps in memory."""


@dataclass(frozen=True)
class Beside:
    """Reads what belongs to one selection; what an older release did not write is None, or empty."""

    store: Store
    record: JobRecord

    def view(self) -> Arrays | None:
        """Return the map `(N, 2)` and the picked embeddings `(k, d)` in the order of the picks. Raises LostError."""
        name = outputs.selection_view(self.record.id)
        if not self.store.blobs.exists(name):
            return None
        return self._kept(name)

    def embedding(self, position: int, row: int) -> npt.NDArray[np.float64] | None:
        """Return the embedding (d,) of a sample by its position in the pool and its row. Raises LostError."""
        signals = (self.record.json("provenance") or {}).get("signals")
        if signals is not None:
            name = signals_blob(signals)
            arrays = self._kept(name)
            if "embeddings" not in arrays:
                return None
            place = int(np.searchsorted(arrays["rows"], row))
            return np.asarray(arrays["embeddings"][place], dtype=np.float64)
        spec = self._scoring()
        if spec is None:
            return None
        shard = self.store.blobs.get_arrays(spec.shard_blob(position // spec.shard_size))
        return np.asarray(shard["embedding"][position % spec.shard_size], dtype=np.float64)

    def texts(self, position: int) -> list[KeptText]:
        """Return the texts of a sample's first rollouts; none where none were kept. Raises LostError."""
        spec = self._scoring()
        if spec is None or spec.texts is None:
            return []
        content = self.store.blobs.get_bytes(spec.texts_blob(position // spec.shard_size))
        return decode_texts(content, position % spec.shard_size)

    def _kept(self, name: str) -> Arrays:
        return _arrays.get((self.store, name), lambda: self.store.blobs.get_arrays(name))

    def _scoring(self) -> ScoreSpec | None:
        """Return how the pool was scored; None by uploaded signals, and where another release did it."""
        name = self.record.fields.get(MEASURED)
        if name is None:
            return None
        try:
            _, stored = self.store.jobs.group(f"{ScoreSpec.HANDLER}:{name.removeprefix('scores:')}")
            return ScoreSpec.read(stored)
        except (NotFoundError, SpecRefused):
            return None


_arrays: Recent[tuple[Store, str], Arrays] = Recent(
    lambda arrays: sum(a.nbytes for a in arrays.values()), limit=KEPT_BYTES
)
"""By the blob's name."""
