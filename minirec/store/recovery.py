"""What was lost is made again: from the name of a lost blob to the units that made it, and back to their stage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from minirec.store.errors import LostError
from minirec.store.names import unit_of

if TYPE_CHECKING:
    from minirec.store import Store
    from minirec.store.machine import Claim

MAX_REOPENS = 5
"""How often a job is sent back for what was lost, until somebody retries it."""
SHOWN_NAMES = 3
COLUMNS = "columns:"

log = logging.getLogger(__name__)


def reopen_lost(store: Store, claim: Claim, error: LostError) -> Literal["ok", "stale", "unknown", "own", "again"]:
    """Have the units that made what is lost done again; says what `Machine.reopen` says.

    What is corrupt is deleted. Datasets and uploaded signals cannot be made again and are left as they are.
    """
    units: dict[str, set[int]] = {}
    for name in error.lost:
        blob, _, shard = name.partition("#")
        owners = store.machine.owners_of(blob)
        groups = [owner.removeprefix("group:") for owner in owners if owner.startswith("group:")]
        for group in groups:
            total = store.machine.units(group)
            unit = int(shard) if shard else unit_of(blob)
            units.setdefault(group, set()).update(range(total) if unit is None or unit >= total else [unit])
        if len(groups) == len(owners) and groups and not blob.startswith(COLUMNS):
            store.blobs.delete(blob)
    for group in units.keys() - {claim.group}:
        if store.machine.units(group) == 1:
            _delete_outputs(store, group)
    more = f" and {len(error.lost) - SHOWN_NAMES} more" if len(error.lost) > SHOWN_NAMES else ""
    message = f"{', '.join(error.lost[:SHOWN_NAMES])}{more} was lost or damaged, and is made again"
    answer = store.machine.reopen(
        claim, {group: sorted(found) for group, found in units.items()}, message=message, limit=MAX_REOPENS
    )
    log.warning("%s: %s (%s)", claim.group, message if answer == "ok" else "lost outputs were not reopened", answer)
    return answer


def _delete_outputs(store: Store, group: str) -> None:
    """Delete all that a group's only unit left: where a part is missing, the rest must not pass for the whole."""
    for name in store.machine.outputs(group):
        if name.startswith(COLUMNS) or store.machine.owners_of(name) != [f"group:{group}"]:
            continue
        if name.endswith("/"):
            store.blobs.delete_tree(name)
        else:
            store.blobs.delete(name)
