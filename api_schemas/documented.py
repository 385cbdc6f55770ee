"""Descriptions in JSON Schemas, from the docstrings behind a model's fields.

pydantic's own `use_attribute_docstrings` reads the source of every class when it is made, which doubles the time that
the client takes to import. This reads it when a schema is asked for.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


def described(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Add what is missing to a model's schema: its description, and those of its properties.

    The default of a property that is another model is left out: it is that model's own defaults, which its schema has,
    and generators of clients refuse objects as defaults.
    """
    bases = [base for base in model.__mro__ if base.__module__.split(".")[0] not in ("pydantic", "builtins", "typing")]
    properties = schema.get("properties", {})
    for base in bases:
        if base.__doc__ and not schema.get("description"):
            schema["description"] = inspect.cleandoc(base.__doc__)
        for name, text in _docstrings(base.__module__).get(base.__name__, {}).items():
            if name in properties:
                properties[name].setdefault("description", text)
    for value in properties.values():
        if isinstance(value.get("default"), dict) and _refers(value):
            del value["default"]


def _refers(value: dict[str, Any]) -> bool:
    """Return whether a property may be another model's object."""
    return "$ref" in value or any("$ref" in one for one in value.get("anyOf", ()))


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields by class and field; none where an installation has no sources."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    return {node.name: _of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, behind in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(behind, ast.Expr)
            and isinstance(behind.value, ast.Constant)
            and isinstance(behind.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(behind.value.value)
    return found
