"""Libraries of tables, which the client does not bring along."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def library(name: str) -> Any:
    """Return a module of an optional library. Raise ModuleNotFoundError that says what to install."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"this needs {package}, which is not installed: pip install {package}", name=error.name
        ) from error


def nullable(pandas: Any) -> Callable[[Any], Any]:
    """Return what makes pandas keep integers beside missing values, of the types of a `pyarrow.Table`."""
    return lambda kind: pandas.Int64Dtype() if str(kind) == "int64" else None
