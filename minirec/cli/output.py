"""Output of the commands: results on standard output, notes and progress on standard error, JSON where asked for."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from minirec.api_schemas import Arm, Dataset, Job, Selection, TextReward
from minirec.client.progress import clock_text, counted, waiting_text
from minirec.client.warnings import dataset_warnings

notes = Console(stderr=True)
results = Console()
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
STATUS_STYLE = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "cancelling": "yellow", "running": "cyan"}


def note(text: str) -> None:
    """Print a note on standard error as it is: lines are not broken, numbers not coloured."""
    notes.print(printable(text), highlight=False, soft_wrap=True)


@contextmanager
def tables_beside(json_wanted: bool) -> Iterator[None]:
    """Print tables on standard error meanwhile, where standard output is for a JSON document."""
    before = results.stderr
    results.stderr = before or json_wanted
    try:
        yield
    finally:
        results.stderr = before


def printable(text: str) -> str:
    """Return text without control characters, which a terminal would obey: names come from other users."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(value: BaseModel | Mapping[str, Any] | Iterable[BaseModel | Mapping[str, Any]]) -> None:
    """Print one JSON document, for scripts; a list has an entry per line, and is written as it comes."""
    if isinstance(value, BaseModel | Mapping):
        sys.stdout.write(as_json_text(value) + "\n")
        return
    separator = "["
    for entry in value:
        sys.stdout.write(f"{separator}\n{as_json_text(entry)}")
        separator = ","
    sys.stdout.write("\n]\n" if separator == "," else "[]\n")


def as_json_text(value: BaseModel | Mapping[str, Any]) -> str:
    """Return JSON in one line, without what is null."""
    return value.model_dump_json(exclude_none=True) if isinstance(value, BaseModel) else json.dumps(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()) -> Table:
    """Build a plain table; the columns named in `right` hold numbers. Brackets in cells are text."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        number = column in right
        justify: Literal["left", "right"] = "right" if number else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=number or column in ("id", "kind", "created"))
    for row in rows:
        made.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return made


def dataset_table(datasets: Iterable[Dataset]) -> Table:
    """Build a table of datasets, one a line; it fits 80 columns with names of a few letters."""
    rows = ((d.id, d.name or "", d.kind, f"{d.n_samples:,}", catalogue(d)[0], ago(d.created_at)) for d in datasets)
    counts = ("samples", "items")
    return table(("id", "name", "kind", *counts, "created"), rows, right=counts)


def dataset_details(dataset: Dataset) -> Table:
    """Build a table of a dataset, one property a line."""
    items, users = catalogue(dataset)
    rows = [
        ("id", dataset.id),
        ("name", dataset.name or ""),
        ("kind", dataset.kind),
        ("samples", f"{dataset.n_samples:,}"),
        ("items", items),
        ("users", users),
        ("splits", splits(dataset)),
        ("created", ago(dataset.created_at)),
    ]
    return table(("", ""), [row for row in rows if row[1]])


def note_warnings(dataset: Dataset) -> None:
    """Print what looks odd in a dataset."""
    for warning in dataset_warnings(dataset):
        note(f"[yellow]Warning:[/] {escape(warning)}")


def catalogue(dataset: Dataset) -> tuple[str, str]:
    """Return the numbers of items and users; prompts have neither."""
    return ("", "") if dataset.kind == "prompts" else (f"{dataset.n_items:,}", f"{dataset.n_users:,}")


def selection_table(selections: Iterable[Selection]) -> Table:
    """Build a table of selections, one a line where the terminal is wide enough; ids are never broken."""
    rows = ((s.id, short_state(s), model_name(s), f"{s.request.size:g}", ago(s.created_at)) for s in selections)
    return table(("id", "status", "model", "size", "created"), rows, right=("size",))


def selection_details(selection: Selection) -> Table:
    """Build a table of a selection, one property a line."""
    request, result, error = selection.request, selection.result, selection.error
    rows: list[tuple[str, str | Text]] = [
        ("id", selection.id),
        ("status", status_text(selection)),
        ("dataset", selection.dataset_id),
        ("model", model_name(selection)),
        *([("rewards", rewards_text(request.rewards))] if request.rewards else []),
        ("size", str(request.size)),
        ("created", ago(selection.created_at)),
    ]
    if selection.started_at is not None:
        end = selection.finished_at or time.time()
        rows.append(("ran for", duration(end - selection.started_at)))
    rows += progress_rows(selection)
    if error is not None:
        rows.append(("error", f"{error.message} ({error.code})"))
    if result is not None:
        groups = "curriculum group" if result.groups == 1 else "curriculum groups"
        gated = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in result.gated.items() if count)
        rows += [
            ("picked", f"{result.selected} of {result.pool_size} in {result.groups} {groups}"),
            ("gated", (gated or "none") + (f"; {result.backfilled} picked all the same" if result.backfilled else "")),
            ("mean reward", f"{result.selected_reward_mean:.4f} picked, {result.reward_mean:.4f} pool"),
            *((f"vs {name.replace('_', ' ')}", compared(arm)) for name, arm in result.baselines.items()),
            *([("outlook", result.outlook.text)] if result.outlook is not None else []),
            *(("warning", warning) for warning in result.warnings),
        ]
    return table(("", ""), rows)


def progress_rows(job: Job) -> list[tuple[str, str | Text]]:
    """Return what a job waits for or shares, whether a retry helps, when it will be done, and what it has cost."""
    rows: list[tuple[str, str | Text]] = []
    waits = waiting_text(job)
    if waits is not None:
        rows.append(("waiting", waits))
    elif job.shared_with:
        rows.append(("shared with", ", ".join(job.shared_with)))
    if job.error is not None and job.status == "failed":
        again = f"minirec retry {job.id} goes on from what is finished"
        rows.append(("next", again if job.error.retryable else "it fails in the same way until the cause is mended"))
    finish = getattr(job, "estimated_finish", None)
    if finish is not None and job.status == "running":
        rows.append(("done at", f"about {clock_text(finish)}, in {duration(max(0.0, finish - time.time()))}"))
    elif job.stage_finish is not None and job.status == "running":
        rows.append(("this stage until", f"about {clock_text(job.stage_finish)}"))
    cost = [*([rollouts_text(job)] if isinstance(job, Selection) else [])]
    if job.worker_seconds:
        cost.append(f"{duration(job.worker_seconds)} of workers' time")
    if any(cost):
        rows.append(("cost", ", ".join(filter(None, cost))))
    return rows


def rollouts_text(selection: Selection) -> str:
    """Return how many rollouts a selection has had sampled; none are for what was scored before."""
    counts, settings = selection.counts, selection.request.rollouts
    scores = selection.status == "succeeded" or selection.stage in ("scoring", "selecting")
    if selection.request.model is None or not scores:
        return ""
    sampled = (counts.scored - counts.cached) * settings.group_size
    reused = f" ({counts.cached:,} samples scored before)" if counts.cached else ""
    return f"{sampled:,} rollouts of up to {settings.max_new_tokens:,} tokens{reused}"


def rewards_text(rewards: Iterable[TextReward]) -> str:
    """Return rewards with those weights that are not 1: `exact_title + 0.5 token_f1`."""
    return " + ".join(reward.name if reward.weight == 1 else f"{reward.weight:g} {reward.name}" for reward in rewards)


def compared(arm: Arm) -> str:
    """Return how a baseline compares with the selection."""
    return (
        f"{arm.overlap:.0%} of its picks are the same; mean reward {arm.reward_mean:.4f}, "
        f"hit rate {arm.pass_rate:.2f}, {arm.dead} never solved"
    )


def status_text(selection: Selection) -> Text:
    """Return the state, and of a running job stage and counts: `running: scoring 12/128`."""
    return state_text(selection.status, selection.stage, selection.counts.scored, selection.counts.total)


def short_state(job: Job) -> Text:
    """Return a job's state for a list: `running: scoring 12%`."""
    done, total = counted(job)
    text: str = job.status
    if job.status == "running" and job.stage is not None:
        text += f": {stage_name(job.stage)}" + (f" {done / total:.0%}" if total else "")
    return Text(text, STATUS_STYLE.get(job.status, ""))


def state_text(status: str, stage: str | None, done: int, total: int | None) -> Text:
    """Return a job's state, coloured."""
    text = status
    if status == "running" and stage is not None:
        text += f": {stage_name(stage)}" + (f" {done}/{total}" if total else "")
    return Text(text, STATUS_STYLE.get(status, ""))


def model_name(selection: Selection) -> str:
    model = selection.request.model
    return f"{model.id} ({model.source})" if model is not None else "uploaded signals"


def stage_name(stage: str) -> str:
    return stage.replace("_", " ")


def splits(dataset: Dataset) -> str:
    """Return the sizes of the splits, with nothing for a dataset that has none."""
    named = {name: count for name, count in dataset.splits.items() if name != "none" or len(dataset.splits) > 1}
    return ", ".join(f"{name} {count:,}" for name, count in named.items())


def ago(timestamp: float) -> str:
    """Return a moment as `3 min ago`, or as a date when it is longer ago than a month."""
    passed = time.time() - timestamp
    if passed > 30 * 86_400:
        return datetime.fromtimestamp(timestamp, UTC).astimezone().strftime("%Y-%m-%d")
    whole = round(passed)
    if whole < 60:
        return f"{whole} s ago" if whole >= 1 else "just now"
    if whole < 3600:
        return f"{whole // 60} min ago"
    return f"{whole // 3600} h ago" if whole < 86_400 else f"{whole // 86_400} d ago"


def duration(seconds: float) -> str:
    """Return seconds as `42 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
