"""The error of everything that imports."""

from __future__ import annotations


class SourceError(ValueError):
    """A source cannot be imported; the message says why, where, and what to do."""
