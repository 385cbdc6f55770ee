"""Every command has a purpose of one line, an example, and its result as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from minirec.cli.main import app


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


TREE = dict(commands(typer.main.get_command(app)))


def test_nouns_have_their_verbs() -> None:
    for noun in ("selections", "jobs"):
        assert {(noun, verb) for verb in ("list", "show", "cancel", "retry", "delete")} <= set(TREE)
    assert ("models", "list") in TREE
    assert {("datasets", verb) for verb in ("upload", "list", "show", "delete")} <= set(TREE)


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_command_says_what_it_does_with_an_example_and_has_json(path: tuple[str, ...]) -> None:
    command = TREE[path]
    purpose, _, rest = (command.help or "").partition("\n")
    assert purpose.endswith((".", ":")), "one line"
    assert "minirec " in rest, "an example"
    assert any("--json" in option.opts for option in command.params)
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert any(line.startswith("  minirec ") for line in shown.stdout.splitlines()), shown.stdout
