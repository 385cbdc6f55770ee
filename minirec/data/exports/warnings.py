"""What a trainer would do to the selection without telling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minirec.data.exports.columns import Extra, extra_columns
from minirec.data.exports.rows import Row
from minirec.data.exports.writers import Format

NEVER_SEEN: Mapping[Format, str] = {
    "trl": "TRL's sampler drops the last partial batch of every epoch",
    "verl": "verl's data loader drops the last partial batch of every epoch",
}
ELSEWHERE = "a trainer that drops the last partial batch drops the same rows in every epoch"


def find_warnings(format: Format, rows: Sequence[Row], stages: Sequence[int], batch_size: int | None) -> list[str]:
    """Warnings about an export whose curriculum stages have so many rows, in a trainer with `batch_size` prompts."""
    if format == "openrlhf":
        return [_shuffled_stages(), *_partial_rollouts(stages, batch_size)]
    columns = _columns(extra_columns(rows)) if format == "trl" else []
    return columns + ([] if batch_size is None else _partial_batch(format, sum(stages), batch_size))


def _columns(extra: Extra) -> list[str]:
    """Fields of prompts that are not found under their names."""
    told = []
    if extra.renamed:
        names = ", ".join(f"{name!r} is in the column {column!r}" for name, column in extra.renamed.items())
        told.append(f"TRL or this export use the names of some fields for themselves: {names}.")
    if extra.left_out:
        told.append(
            f"{extra.left_out} fields of the rows have no column of their own, beyond {len(extra.names)} that have; "
            f"minirec_row has all."
        )
    return told


def _partial_batch(format: Format, rows: int, batch_size: int) -> list[str]:
    lost = rows % batch_size
    if lost == 0:
        return []
    which = "all of them" if lost == rows else f"the last {lost}"
    whole = rows - lost
    sizes = f"{whole} or {whole + batch_size}" if whole else str(batch_size)
    return [
        f"{rows} rows are no multiple of a batch of {batch_size}: {NEVER_SEEN.get(format, ELSEWHERE)}, here {which}. "
        f"Use a batch size that divides {rows}, or select {sizes} samples."
    ]


def _shuffled_stages() -> str:
    return (
        "OpenRLHF shuffles every file that it reads: the order of the stages is kept by one run per stage, the order "
        "from easy to hard within a stage is lost."
    )


def _partial_rollouts(stages: Sequence[int], batch_size: int | None) -> list[str]:
    partial = [] if batch_size is None else [(n, rows) for n, rows in enumerate(stages) if rows % batch_size]
    if not partial:
        return []
    told = ", ".join(f"stage {number} ({rows} rows)" for number, rows in partial[:8])
    more = f" and {len(partial) - 8} more" if len(partial) > 8 else ""
    return [
        f"These stages are no multiple of a rollout batch of {batch_size}: {told}{more}. Their runs end with a smaller "
        f"rollout, and OpenRLHF leaves out what does not fill a training batch. Use a batch size that divides them, or "
        f"select with a curriculum.group_size that is a multiple of {batch_size}."
    ]
