"""From `--model` to a model reference: a folder of this machine, or a hub id."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import typer

from minirec.api_schemas.messages import WORDS
from minirec.api_schemas.models import MODEL_ID
from minirec.cli.connection import Connection


def model_reference(
    connection: Connection, model: str, *, local: bool | None, revision: str | None, adapter: str | None
) -> dict[str, Any]:
    """Return the reference that the options `--model`, `--adapter` and `--local/--hub` mean.

    Args:
        connection: Tells where the running stack reads local models from.
        model: A folder or a hub id.
        local: True for a folder, False for a hub id, None to decide by the text.
        revision: Of the model on the hub.
        adapter: A folder or a hub id.

    Raises:
        typer.BadParameter: A folder is not there, or a name cannot be one of a model.
    """
    stack = connection.stack()
    root = Path(stack.models_dir) if stack else None
    reference: dict[str, Any] = place(model, root, local)
    if revision is not None:
        reference["revision"] = revision
    if adapter is not None:
        reference["adapter"] = place(adapter, root, None)
    return reference


def place(text: str, root: Path | None, local: bool | None) -> dict[str, str]:
    """Return where one model or adapter is; `root` is the folder that the running stack reads local models from.

    `./x`, `../x`, `~/x`, `.` and absolute paths are folders of this machine. Any other text is a folder below the
    models folder, else one of this machine, else a hub id. Raise `typer.BadParameter`.
    """
    if local is False:
        return reference("hub", text)
    folder = Path(text).expanduser()
    if is_path(text):
        if root is None:
            raise typer.BadParameter(
                f"{text} is a path here, but the service is elsewhere: "
                "give the path below its models folder, with --local"
            )
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is not a folder" if folder.exists() else f"there is no folder {text}")
        return reference("local", below(folder.resolve(), root))
    if root is not None:
        for candidate in (root / text, folder):
            if text and candidate.is_dir():
                return reference("local", below(candidate.resolve(), root))
    return reference("local" if local else "hub", text.rstrip("/"))


def is_path(text: str) -> bool:
    """Return whether text can only be a path."""
    return Path(text).is_absolute() or text.split(os.sep)[0] in (".", "..") or text.startswith("~")


def reference(source: str, name: str) -> dict[str, str]:
    """Return a reference by a name that the API takes. Raise `typer.BadParameter`."""
    if re.match(MODEL_ID, name) is None or len(name) > 256:
        advice = "Rename the folder." if source == "local" else "Check --model and --adapter."
        raise typer.BadParameter(f"{name!r} is not a name that the service takes: it {WORDS[MODEL_ID]}. {advice}")
    return {"source": source, "id": name}


def below(path: Path, root: Path) -> str:
    """Return the path of a model below the models folder. Raise `typer.BadParameter`."""
    if path == root.resolve():
        raise typer.BadParameter(f"{path} is the models folder itself; name the folder of a model in it")
    if not path.is_relative_to(root.resolve()):
        raise typer.BadParameter(
            f"{path} is outside the models folder {root}, the only one that the service reads local models from. "
            f"Move it there, or start the service with: minirec up --models-dir {path.parent}"
        )
    return path.relative_to(root.resolve()).as_posix()
