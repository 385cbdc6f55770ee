"""Docstrings say what a caller needs: every one of many arguments, and first what a function does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("api_schemas", "minirec", "service", "worker")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MANY = 4
"""More arguments than this are listed one by one."""
QUESTIONS = ("What", "Which", "Whether", "Where", "How", "Who")
ENTRY_POINTS = ("get", "post", "put", "patch", "delete", "command", "callback")
"""Decorators of routes and commands, whose parameters carry their own help."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(body: list[ast.stmt], *, public: bool = True) -> Iterator[tuple[Function, bool]]:
    """Yield the functions and methods of a module, and whether callers elsewhere may use them."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body, public=public and not node.name.startswith("_"))
        elif isinstance(node, Function):
            yield node, public and not node.name.startswith("_") and not is_entry_point(node)


def is_entry_point(function: Function) -> bool:
    """Return whether a function is a route or a command, whose docstring is shown to users."""
    calls = [node.func for node in function.decorator_list if isinstance(node, ast.Call)]
    has_options = any("typer." in ast.unparse(argument) for argument in function.args.args)
    return has_options or any(isinstance(call, ast.Attribute) and call.attr in ENTRY_POINTS for call in calls)


def faults(source: str) -> list[str]:
    """Return what is wrong with a module's docstrings, each with its line."""
    found = []
    for function, public in functions(ast.parse(source).body):
        text = ast.get_docstring(function) or ""
        given = function.args
        names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        many = len([name for name in names if name not in ("self", "cls")]) > MANY
        if public and many and "\nArgs:\n" not in text:
            found.append(f"{function.lineno}: {function.name} has more than {MANY} arguments and no `Args:`")
        if text.partition(" ")[0] in QUESTIONS and not is_entry_point(function):
            found.append(f"{function.lineno}: {function.name} begins with a question; say what it returns or does")
    return found


def test_docstrings_list_many_arguments_and_begin_with_no_question() -> None:
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in MODULES for fault in faults(path.read_text())]
    assert found == []


FIVE = "a, b, c, *, d, e=1"
LISTED = '"""Do it.\n\n    Args:\n        a: One.\n    """'


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (f'def do({FIVE}):\n    """Do it."""', 1),
        (f"async def do({FIVE}):\n    pass", 1),
        (f"def do({FIVE}):\n    {LISTED}", 0),
        (f"def _do({FIVE}):\n    pass", 0),
        (f"class A:\n    def do(self, {FIVE}):\n        pass", 1),
        (f"class _A:\n    def do(self, {FIVE}):\n        pass", 0),
        ("class A:\n    def do(self, a, b, c, d):\n        pass", 0),
        (f"@app.command()\ndef do({FIVE}):\n    pass", 0),
        (f"def do(z: Annotated[str, typer.Option(help='Help.')], {FIVE}):\n    pass", 0),
        (f"def out():\n    def do({FIVE}):\n        pass", 0),
        ('def _is():\n    """Whether it is."""', 1),
        ('@property\ndef whole():\n    """The whole."""', 0),
        ('@app.callback()\ndef main():\n    """Which is it?"""', 0),
    ],
)
def test_such_faults_are_found(source: str, count: int) -> None:
    assert len(faults(source)) == count
