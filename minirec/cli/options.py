"""Options that several commands share, and the parsing of their text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from minirec.api_schemas import JOB_KINDS, Status, kind_of

SECTIONS = ("pool", "rollouts", "weights", "curriculum", "proxy", "model", "texts")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for scripts.")]
Rewards = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        metavar="NAME[=WEIGHT]",
        help="What an answer to a prompt earns, see minirec rewards; may be repeated, theirs add up.",
    ),
]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
Metadata = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Kept with it; may be repeated.")
]
Follow = Annotated[bool, typer.Option(help="Show the progress until it is over.")]


def known_job(job_id: str) -> str:
    """Return the id of a job. Raises `typer.BadParameter` for any other."""
    try:
        kind_of(job_id)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return job_id


JOBS = ", ".join(f"{kind.prefix}_... ({kind.title})" for kind in JOB_KINDS)
JobId = Annotated[str, typer.Argument(metavar="JOB", help=f"Id of a job: {JOBS}.", callback=known_job)]
JobIds = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB", help=f"Ids of jobs: {JOBS}.", callback=lambda ids: [known_job(job_id) for job_id in ids]
    ),
]
SelectionRef = Annotated[
    str,
    typer.Argument(
        metavar="SELECTION", help="Id of the selection, sel_..., or the name of the one dataset it was made from."
    ),
]
SelectionRefs = Annotated[
    list[str], typer.Argument(metavar="SELECTION", help="Ids, sel_..., or names of datasets with one selection each.")
]
DatasetRef = Annotated[str, typer.Argument(metavar="DATASET", help="Id of the dataset, ds_..., or its exact name.")]
OfDataset = Annotated[str | None, typer.Option("--dataset", help="Only those of this dataset: its id or exact name.")]
InState = Annotated[Status | None, typer.Option("--status", help="Only those in this state.")]


def dataset_files(samples: Path | None, items: Path | None, prompts: Path | None) -> dict[str, Path]:
    """Return the files of a new dataset, empty if none was given. Raise `typer.BadParameter` unless they make one."""
    options = {"samples": samples, "items": items, "prompts": prompts}
    given = {name: path for name, path in options.items() if path is not None}
    if set(given) not in (set(), {"samples", "items"}, {"prompts"}):
        raise typer.BadParameter("give --samples and --items, or --prompts alone")
    return given


def parse_rewards(texts: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Return `NAME` or `NAME=WEIGHT` texts as rewards. Raise `typer.BadParameter`."""
    found: list[dict[str, Any]] = []
    for text in texts or ():
        name, equals, weight = text.partition("=")
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            found.append({"name": name, "weight": number} if equals else {"name": name})
        else:
            raise typer.BadParameter(f"{weight!r} is no weight for {name}; give a number, as in {name}=0.5")
    return found or None


def parse_size(text: str) -> int | float:
    """Return a size: `256` samples, or a part of the pool as `10%` or `0.1`. Raise `typer.BadParameter`."""
    try:
        if text.isdecimal() and int(text) > 0:
            return int(text)
        part = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        part = 0.0
    if not 0 < part < 1:
        raise typer.BadParameter(f"{text!r} is not a number of samples (256) or a part of the pool (10%, 0.1)")
    return part


def pairs(texts: Sequence[str] | None) -> dict[str, str]:
    """Return `KEY=VALUE` texts as a dictionary. Raise `typer.BadParameter`."""
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
        found[key] = value
    return found


def refuse_constant(name: str) -> None:
    """Raise `typer.BadParameter` for a number that JSON does not have."""
    raise typer.BadParameter(f"{name} is not a number that a setting can have")


def put_settings(body: dict[str, Any], texts: Sequence[str] | None, *, sections: Sequence[str] = SECTIONS) -> None:
    """Put `SECTION.FIELD=VALUE` texts into a request's settings; values are JSON, or text where they are not."""
    for path, text in pairs(texts).items():
        section, dot, field = path.partition(".")
        if not dot:
            raise typer.BadParameter(f"{path!r} is not SECTION.FIELD; sections are {', '.join(sections)}")
        try:
            value = json.loads(text, parse_constant=refuse_constant)
        except ValueError:
            value = text
        if section not in sections:
            raise typer.BadParameter(f"{section!r} is not a section of the settings: {', '.join(sections)}")
        target = body.setdefault(section, {})
        *parents, last = field.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise typer.BadParameter(f"{path!r} goes into {parent!r}, which was given as a value")
        target[last] = value
