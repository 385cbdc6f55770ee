"""What does not fit of a pool's prompts. Imports no torch."""

from __future__ import annotations

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
