"""The resources of `AsyncMiniRec`."""
