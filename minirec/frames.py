"""Tables in memory, told by what they can do: none of the libraries that make them is imported.

pandas, polars and pyarrow tables, `datasets.Dataset`, dictionaries of columns, and lists of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

BATCH_ROWS = 1_024


def columns_of(table: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a table in memory; None for what is none. Lazy frames raise TypeError."""
    if hasattr(table, "collect_schema") and hasattr(table, "collect"):  # polars
        raise TypeError("a lazy frame has no rows yet; give the result of its .collect()")
    if isinstance(table, str | bytes):
        return None
    if isinstance(table, Mapping):
        return tuple(map(str, table)) if _has_columns(table) else None
    names = getattr(table, "column_names", None)  # pyarrow, datasets
    if names is None:
        names = getattr(table, "columns", None)  # pandas, polars
    if names is not None and not callable(names):
        return tuple(str(name) for name in (*_index_names(table), *names))
    if isinstance(table, list | tuple) and table and isinstance(table[0], Mapping):
        return tuple(dict.fromkeys(str(name) for row in table[:50] for name in row))
    return None


def _has_columns(table: Mapping[Any, Any]) -> bool:
    """Tell whether a dictionary holds columns, and not tables by their names, each of which may be a list of rows."""
    columns = list(table.values())
    rows = [isinstance(column, list | tuple) and bool(column) and isinstance(column[0], Mapping) for column in columns]
    return bool(columns) and all(map(_is_column, columns)) and not all(rows)


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "tolist") and hasattr(value, "__len__"))


def _index_names(table: Any) -> list[Any]:
    """Return the names of a pandas index that are no columns; empty for other tables."""
    index = getattr(table, "index", None) if hasattr(table, "itertuples") else None
    return [name for name in getattr(index, "names", ()) if name is not None and name not in table.columns]


def _with_index(table: Any) -> Any:
    """Return a pandas frame with its named index as columns, in front."""
    names = _index_names(table)
    return table.reset_index(level=names) if names else table


def rows_of(table: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table in memory, as plain Python values; a named index of pandas is a column, as in Parquet.

    Raises:
        TypeError: The frame is lazy.
        ValueError: Two columns have the same name.
    """
    names = [str(name) for name in columns_of(table) or ()]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"the table has more than one column {twice[0]!r}; rename or drop one of them")
    if hasattr(table, "iter_rows"):  # polars
        yield from table.iter_rows(named=True)
    elif hasattr(table, "to_batches"):  # pyarrow
        yield from chain.from_iterable(batch.to_pylist() for batch in table.to_batches(max_chunksize=BATCH_ROWS))
    elif hasattr(table, "itertuples"):  # pandas
        for values in _with_index(table).itertuples(index=False, name=None):
            yield {name: plain(value) for name, value in zip(names, values, strict=True)}
    elif isinstance(table, Mapping):
        names = [str(name) for name in table]
        for values in zip(*table.values(), strict=True):
            yield {name: plain(value) for name, value in zip(names, values, strict=True)}
    else:
        for row in table:
            yield {str(name): plain(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """Return a value of numpy or pandas as Python has it; a missing one is None."""
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        return None if value != value else float(value)
    if hasattr(value, "to_pydatetime"):
        return None if value != value else value.to_pydatetime()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    return None if type(value).__name__ in ("NAType", "NaTType") else value
