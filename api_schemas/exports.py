"""Exports: a selection's subset as the files of a trainer."""

from __future__ import annotations

from typing import Literal

ExportFormat = Literal[
    "trl",
    "verl",
    "openrlhf",
    "slime",
    "verifiers",
    "nemo-rl",
    "ms-swift",
    "llama-factory",
    "jsonl",
    "parquet",
    "csv",
    "ids",
]
"""Whose files an export holds: a trainer's, or plain ones. `minirec.data.exports.TARGETS` has one target for each."""
