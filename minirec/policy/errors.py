"""What cannot be computed, however often it is tried."""

from __future__ import annotations


class InvalidSampleError(ValueError):
    """A sample or an item does not fit into the model's context, or leads to numbers that are not finite."""
