"""From `--model` to a model reference: a folder of this machine, or a hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from minirec.cli.connection import Connection


def model_reference(
    connection: Connection, model: str, *, local: bool | None, revision: str | None, adapter: str | None
) -> dict[str, Any]:
    """The reference that `--model`, `--adapter` and `--local/--hub` mean. Raises `typer.BadParameter`."""
    stack = connection.stack()
    root = Path(stack.models_dir) if stack else None
    reference: dict[str, Any] = place(model, root, local)
    if revision is not None:
        reference["revision"] = revision
    if adapter is not None:
        reference["adapter"] = place(adapter, root, None)
    return reference


def place(text: str, root: Path | None, local: bool | None) -> dict[str, str]:
    """Where one model or adapter is: `root` is the folder that the running stack reads local models from."""
    if local is False:
        return {"source": "hub", "id": text}
    path = Path(text).expanduser()
    if root is not None and (root / text).is_dir() and not path.is_absolute():
        return {"source": "local", "id": text}
    if path.is_dir() and root is not None:
        return {"source": "local", "id": below(path.resolve(), root)}
    if path.is_absolute() or text.startswith(("./", "../", "~")):
        if root is not None:
            raise typer.BadParameter(f"there is no folder {text}")
        raise typer.BadParameter(
            f"{text} is a path here, but the service is elsewhere: give the path below its models folder, with --local"
        )
    return {"source": "local" if local else "hub", "id": text}


def below(path: Path, root: Path) -> str:
    """The path of a model below the models folder. Raises `typer.BadParameter`."""
    if not path.is_relative_to(root):
        raise typer.BadParameter(
            f"{path} is outside the models folder {root}, the only one that the service reads local models from. "
            f"Move it there, or start the service with: minirec up --models-dir {path.parent}"
        )
    return path.relative_to(root).as_posix()
