"""Types of the fixtures in conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
WriteJsonl = Callable[[str, Iterable[Any]], Path]
Publish = Callable[[str, dict[str, bytes]], None]
"""Puts a wheel with the given files on the package index; the first argument is `name==version`."""
