"""Rows of the files that clients upload: samples and catalogue items."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Identifier = Annotated[str, Field(min_length=1, max_length=256)]
Split = Literal["train", "valid", "test"]


class SampleRow(BaseModel):
    """One training sample: what a user did, and what came next."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    id: Identifier
    history: Annotated[list[Identifier], Field(min_length=1, max_length=10_000)]
    """Item ids, most recent last."""
    target: Identifier
    user_id: Identifier | None = None
    timestamp: float | None = None
    """When the target was chosen, in seconds since 1970."""
    ratings: list[float | None] | None = None
    """One rating per history item, or null where unknown."""
    history_timestamps: list[float | None] | None = None
    """One time per history item, in seconds since 1970: lets the prompt say how long ago each was."""
    split: Split | None = None

    @model_validator(mode="after")
    def _aligned(self) -> SampleRow:
        for name in ("ratings", "history_timestamps"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.history):
                raise ValueError(f"{name} has {len(values)} values for {len(self.history)} history items")
        return self


class ItemRow(BaseModel):
    """One catalogue item; every further field is kept and shown to the model as an attribute."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    item_id: Identifier
    title: Annotated[str, Field(min_length=1, max_length=2_000)]
