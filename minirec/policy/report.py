"""What does not fit of a pool's prompts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class PoolReport:
    """What does not fit of a pool's prompts: rows of the dataset, in the order in which they were given."""

    prompts: int = 0
    """Samples that were tried."""
    longest: int = 0
    """Tokens of the longest prompt that fits."""
    too_long: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    """Samples whose turns the chat template does not take."""
    too_long_reason: str | None = None
    """Of the first of them."""
    refused_reason: str | None = None
    items_too_long: list[int] = field(default_factory=list)
    """Rows of the catalogue."""
    item_reason: str | None = None

    @classmethod
    def merged(cls, parts: Sequence[PoolReport]) -> PoolReport:
        """Return the report on a pool from those on its parts, in their order."""
        return cls(
            prompts=sum(part.prompts for part in parts),
            longest=max(part.longest for part in parts),
            too_long=[row for part in parts for row in part.too_long],
            refused=[row for part in parts for row in part.refused],
            too_long_reason=next((part.too_long_reason for part in parts if part.too_long), None),
            refused_reason=next((part.refused_reason for part in parts if part.refused), None),
            items_too_long=[row for part in parts for row in part.items_too_long],
            item_reason=next((part.item_reason for part in parts if part.items_too_long), None),
        )
