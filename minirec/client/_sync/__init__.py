# Generated from ../_async by scripts/unasync.py. Do not edit.
"""The resources of `MiniRec`."""
