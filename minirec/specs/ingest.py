"""Spec of the unit that turns uploaded files into a dataset."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from minirec.api_schemas.rows import TimestampUnit
from minirec.specs.base import UnitSpec


class UploadedFile(BaseModel):
    """A file as it was sent: some blobs, one behind the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    """What messages call it."""
    blobs: tuple[str, ...]


class IngestSpec(UnitSpec):
    """Check the files of a dataset that is not ready yet, and make it ready."""

    HANDLER, VERSION, QUEUE = "ingest", "1", "cpu"

    dataset_id: str
    files: dict[str, UploadedFile]
    """`samples` and `items`, or `prompts`."""
    timestamp_unit: TimestampUnit | None = None
    folder: str
    """What all the blobs lie in; they go with the job."""

    @property
    def group(self) -> str:
        """The dataset's own group."""
        return f"ingest:{self.dataset_id}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Nothing that is named yet, and the uploaded files, which nobody else keeps."""
        return (self.folder,)
