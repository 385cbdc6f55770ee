"""Fields that several targets write, each under the names that its trainer needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from minirec.api_schemas.datasets import Kind
from minirec.data.exports.encode import PLACES, SCORES, json_text
from minirec.data.exports.rows import Row

TEXT = pa.string()
OWN: Mapping[Kind, list[pa.Field]] = {
    "interactions": [pa.field("id", TEXT), pa.field("item_id", TEXT), *PLACES, *SCORES],
    "prompts": [pa.field("id", TEXT), *PLACES, *SCORES],
}
"""What an export says of every sample beside prompt, answer and source."""
ROW: Mapping[Kind, list[pa.Field]] = {"interactions": [], "prompts": [pa.field("row", TEXT)]}
"""The row as it was uploaded, in JSON: what a reward gets to see."""


def own_fields(row: Row) -> dict[str, Any]:
    """Return the values of `OWN`."""
    item = {} if row.item_id is None else {"item_id": row.item_id}
    return {"id": row.id, **item, **row.places, **row.scores}


def meta_field(row: Row) -> dict[str, Any]:
    """Return the fields of a prompt's row that have no meaning here, as `meta`; nothing for a sample."""
    return {} if row.item_id is not None else {"meta": row.extra}


def prefixed_fields(row: Row) -> dict[str, Any]:
    """Return the values of `OWN` and `ROW` under names that collide with none of a trainer's."""
    whole = {} if row.item_id is not None else {"minirec_row": json_text(row.uploaded)}
    return {f"minirec_{name}": value for name, value in own_fields(row).items()} | whole
