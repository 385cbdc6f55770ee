"""What can go wrong with what is remembered."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The store does not hold what it should."""


class BlobMissingError(StoreError):
    """A blob is not there: deleted, or the processes do not share one blob URL."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(f"{name} is not in the blob store {url}; do all processes use the same MINIREC_BLOB_URL?")


class BlobCorruptError(StoreError):
    """A blob cannot be read."""

    def __init__(self, name: str, url: str, reason: str) -> None:
        super().__init__(f"{name} in the blob store {url} cannot be read: {reason}")


class ColumnsCorruptError(StoreError):
    """Packed columns in Redis are not what was written."""


class NotFoundError(StoreError):
    """No such record."""


class InUseError(StoreError):
    """A job cannot be deleted: it has not ended, or a job that has not ended needs it."""

    def __init__(self, job: str, *, by: str) -> None:
        super().__init__(f"{job} has not ended" if by == job else f"{by} needs {job} and has not ended")
        self.by = by
