"""Rows that have a history already: the columns of R2ec, ReRe, LatentR3 and MiniOneRec."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from minirec.data.importers.base import Options, Tally
from minirec.data.importers.catalogue import SEMANTIC_ID
from minirec.data.importers.sources import Table, split_of
from minirec.data.importers.values import as_id, as_ids, as_list, as_number, as_time, as_title, unit_of

HISTORY, TARGET = "history_item_id", "item_id"
PAIRS = (
    ("history_item_title", "item_title", "title"),
    ("history_item_sid", "item_sid", SEMANTIC_ID),
    ("item_asins", "item_asin", "asin"),
)
"""Column of the history, column of the target, and the field of items that both hold."""


def is_history_table(table: Table) -> bool:
    """Tell whether a table has a history and a target per row."""
    return {HISTORY, TARGET} <= set(table.columns)


def collect_items(tables: Sequence[Table], items: dict[str, dict[str, Any]]) -> None:
    """Add what the rows say of items to those that are known: titles, semantic ids, Amazon's ids."""
    for table in tables:
        pairs = [pair for pair in PAIRS if {pair[0], pair[1]} & set(table.columns)]
        for _, row in table.rows():
            history, target = as_ids(row.get(HISTORY)), as_id(row.get(TARGET))
            for many, one, field in pairs:
                values = as_list(row.get(many)) or ()
                if history is not None and len(values) == len(history):
                    for item, value in zip(history, values, strict=True):
                        _put(items, item, field, value)
                if target is not None:
                    _put(items, target, field, row.get(one))


def _put(items: dict[str, dict[str, Any]], item: str, field: str, value: Any) -> None:
    fields = items.setdefault(item, {})
    if value and not fields.get(field):
        fields[field] = as_title(value) if field == "title" else str(value)


def samples_of(
    tables: Sequence[Table], known: Collection[str] | None, pads: Collection[str], options: Options, tally: Tally
) -> Iterator[dict[str, Any]]:
    """Yield the samples of all tables, each in the split that its table's name says.

    Args:
        tables: Tables with histories.
        known: Ids of the catalogue; None if there is none.
        pads: Ids that fill histories up and stand for no item.
        options: The longest history, and the lowest rating of a target.
        tally: Gets what is left out.
    """
    numbers: Counter[str] = Counter()
    seen: set[bytes] = set()
    for table in tables:
        split = split_of(table.name)
        if len(tables) > 1 and split is None:
            tally.note(f"{table.name} does not say in its name which split it is: its rows have none.")
        divisor = _divisor(table, tally)
        for line, row in table.rows():
            tally.count("rows")
            where = f"{table.name}, line {line}"
            if (sample := _sample(row, pads, divisor, options)) is None:
                tally.drop("row without a history or target that can be read", where)
                continue
            missing = [
                item for item in (*sample["history"], sample["target"]) if known is not None and item not in known
            ]
            if missing:
                tally.drop("row with an item that is not in the catalogue", f"{where}: {missing[0]}")
                continue
            rating = as_number(row.get("rating"))
            if options.min_rating is not None and rating is not None and rating < options.min_rating:
                tally.drop(f"target rated below {options.min_rating:g}", where)
                continue
            mark = hashlib.blake2b(repr(sorted(sample.items())).encode(), digest_size=16).digest()
            if mark in seen:
                tally.drop("row that came before", where)
                continue
            seen.add(mark)
            user = sample.get("user_id", "row")
            numbers[user] += 1
            yield {"id": f"{user}-{numbers[user]}", **sample, **({"split": split} if split else {})}


def _divisor(table: Table, tally: Tally) -> float:
    """Return what to divide a table's times by, from its first row that has one."""
    if "timestamp" not in table.columns:
        return 1.0
    for number, (_, row) in enumerate(table.rows()):
        if (time := as_time(row.get("timestamp"))) is not None:
            divisor, unit = unit_of(abs(time))
            if divisor != 1:
                tally.note(f"Times were read as {unit}.")
            return divisor
        if number > 1_000:
            break
    return 1.0


def _sample(row: dict[str, Any], pads: Collection[str], divisor: float, options: Options) -> dict[str, Any] | None:
    history, target = as_ids(row.get(HISTORY)), as_id(row.get(TARGET))
    if not history or target is None or target in pads:
        return None
    real = [place for place, item in enumerate(history) if item not in pads][-options.window :]
    if not real:
        return None
    sample: dict[str, Any] = {"history": [history[place] for place in real], "target": target}
    if (user := as_id(row.get("user_id"))) is not None:
        sample["user_id"] = user
    if (time := as_time(row.get("timestamp"))) is not None:
        sample["timestamp"] = time / divisor
    for column, field, scale in (
        ("history_rating", "ratings", 1.0),
        ("history_timestamp", "history_timestamps", divisor),
    ):
        values = as_list(row.get(column))
        if values is not None and len(values) == len(history):
            numbers = [as_time(values[place]) for place in real]
            sample[field] = [None if number is None else number / scale for number in numbers]
    return sample
