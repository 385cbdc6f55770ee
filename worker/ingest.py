"""Check uploaded files row by row, and make them a dataset."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from minirec.data.content import check_files
from minirec.specs.ingest import IngestSpec, UploadedFile
from minirec.store.contents import store_content
from minirec.store.errors import NotFoundError
from minirec.store.machine import Outcome
from minirec.worker.work import Interrupted, Work

REPORT_SECONDS = 0.5


def run(work: Work, spec: IngestSpec) -> Outcome:
    """Store the dataset; a fault in its files fails the job with all that is wrong in them."""
    datasets = work.store.datasets
    try:
        dataset = datasets.get_unready(spec.dataset_id)
    except NotFoundError:
        # Another attempt made it ready and did not come to its commit; or it was deleted, and nobody waits.
        return Outcome()
    tenant = datasets.tenant_of(spec.dataset_id)
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        files = {part: _local(work, file, Path(folder) / part) for part, file in spec.files.items()}
        content = check_files(
            files,
            Path(folder) / "checked",
            titles={part: file.title for part, file in spec.files.items()},
            timestamp_unit=spec.timestamp_unit,
            on_read=_Meter(work).add,
        )
        if not store_content(work.store, dataset, content, tenant, datasets.ready):
            raise Interrupted("abandoned")
    work.done = work.claim.total
    # What was sent is not needed any more. Where this is not come to, it goes with the dataset.
    work.store.machine.drop(f"group:{spec.group}", spec.outputs)
    return Outcome()


def _local(work: Work, file: UploadedFile, target: Path) -> Path:
    """Return a path to a file on this machine. Raises BlobMissingError."""
    if len(file.blobs) == 1:
        return work.store.blobs.local_path(file.blobs[0])
    with target.open("wb") as sink:
        for blob in file.blobs:
            with work.store.blobs.local_path(blob).open("rb") as source:
                shutil.copyfileobj(source, sink, 1 << 20)
            work.check()
    return target


class _Meter:
    """Reports bytes that were read, now and then."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._bytes = 0
        self._next = 0.0

    def add(self, n_bytes: int) -> None:
        """Count; raise Interrupted when the unit should be left."""
        self._bytes += n_bytes
        if time.monotonic() >= self._next:
            self._work.progress(min(self._bytes, self._work.claim.total))
            self._next = time.monotonic() + REPORT_SECONDS
