"""What can go wrong with what is remembered."""

from __future__ import annotations

import errno
from collections.abc import Sequence

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FAILING = FULL | {errno.EIO, errno.EROFS, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE, errno.ENFILE}


def is_storage_fault(error: BaseException) -> bool:
    """Return whether a file could not be written or read for a reason that lies in the machine, and may pass."""
    return isinstance(error, OSError) and error.errno in FAILING


def is_storage_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, is that there is no room on a disk."""
    while error is not None:
        # Libraries that write files themselves say it in words.
        if (isinstance(error, OSError) and error.errno in FULL) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


class StoreError(RuntimeError):
    """The store does not hold what it should."""


class LostError(StoreError):
    """Something that was stored is missing or corrupt: whoever made it has to make it again."""

    lost: tuple[str, ...] = ()
    """Names of blobs; `columns:<name>`, or `columns:<name>#<shard>` where it is one shard of columns."""


class NotFoundError(StoreError):
    """No such record."""


class ContentBusyError(StoreError):
    """The same rows are being stored or deleted by another, which takes a moment."""


class BlobMissingError(LostError):
    """A blob is not there: deleted, or the processes do not share one blob URL."""

    def __init__(self, name: str, url: str) -> None:
        self.lost = (name,)
        super().__init__(f"{name} is not in the blob store {url}; do all processes use the same MINIREC_BLOB_URL?")


class BlobCorruptError(LostError):
    """A blob cannot be read, or is not what was written."""

    def __init__(self, name: str, url: str, reason: str) -> None:
        self.lost = (name,)
        super().__init__(f"{name} in the blob store {url} cannot be read: {reason}")


class BlobsLostError(LostError):
    """Some of many blobs are missing or corrupt."""

    def __init__(self, errors: Sequence[LostError]) -> None:
        self.lost = tuple(name for error in errors for name in error.lost)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{errors[0]}{more}")


class ColumnsMissingError(LostError, NotFoundError):
    """Columns in Redis are not there, or some of their shards are not."""

    def __init__(self, name: str, shards: Sequence[int] = ()) -> None:
        self.lost = tuple(f"columns:{name}#{shard}" for shard in shards) or (f"columns:{name}",)
        which = f"shards {', '.join(map(str, shards[:5]))} of the columns" if shards else "columns"
        super().__init__(f"no {which} are stored as {name}")


class ColumnsCorruptError(LostError):
    """Packed columns in Redis are not what was written."""

    def __init__(self, reason: str, lost: Sequence[str] = ()) -> None:
        self.lost = tuple(lost)
        super().__init__(reason)


class InUseError(StoreError):
    """A job cannot be deleted: it has not ended, or a job that has not ended needs it."""

    def __init__(self, job: str, *, by: str) -> None:
        super().__init__(f"{job} has not ended" if by == job else f"{by} needs {job} and has not ended")
        self.by = by
