"""Live progress of uploads and selections."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from minirec.api_schemas import TERMINAL, Counts, Dataset, Job, Selection, TimestampUnit
from minirec.cli.output import duration, note, note_warnings, notes, stage_name
from minirec.client import DatasetWarning, MiniRec
from minirec.client.progress import clock_text, waiting_text

ATTACHED_LATE = 10.0
"""Seconds that a job has run before it is said how long: the clock beside a bar starts when the bar appears."""


def upload(
    client: MiniRec,
    files: Mapping[str, Path],
    name: str | None,
    metadata: Mapping[str, str] | None = None,
    timestamp_unit: TimestampUnit | None = None,
) -> Dataset:
    """Upload a dataset under a progress bar.

    Args:
        client: Of the service.
        files: By part, as `dataset_files` returns them.
        name: A name for people.
        metadata: Keys and values that are kept with the dataset.
        timestamp_unit: The unit of the samples' times, if it is not seconds.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeElapsedColumn(), console=notes, transient=True) as progress:
        task = progress.add_task("uploading", total=None)

        def show(sent: int, total: int) -> None:
            progress.update(task, completed=sent, total=total)
            if sent == total:
                progress.update(task, description="checking every row")

        def show_checked(dataset: Dataset) -> None:
            if (found := dataset.progress) is not None:
                doing = "waiting for a worker" if found.waiting else "checking every row"
                progress.update(task, completed=found.bytes_done, total=found.bytes_total, description=doing)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DatasetWarning)
            dataset = client.datasets.upload(
                **files,
                name=name,
                metadata=metadata,
                timestamp_unit=timestamp_unit,
                on_progress=show,
                on_check=show_checked,
                wait=True,
            )
    note_warnings(dataset)
    return dataset


def follow(client: MiniRec, selection_id: str) -> Selection:
    """Show a selection's progress until it is over; Ctrl-C ends the showing, not the job.

    Raises `JobFailedError` and `JobCancelledError`.
    """
    with leaving_it_running(selection_id), selection_progress() as view:
        return client.selections.wait(selection_id, on_update=view.show)


@contextmanager
def leaving_it_running(job_id: str) -> Iterator[None]:
    """Print on Ctrl-C how to come back to the job, and end the command."""
    try:
        yield
    except KeyboardInterrupt:
        note(
            f"\n[bold]{job_id}[/] keeps running.\n"
            f"  Follow it again:  minirec status {job_id} --follow\n"
            f"  Stop it:          minirec cancel {job_id}"
        )
        raise typer.Exit(130) from None


@contextmanager
def selection_progress() -> Iterator[SelectionProgress]:
    """Show one bar per stage of a selection."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<20}"), BarColumn(), TextColumn("{task.fields[counts]}"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *times, console=notes, disable=not notes.is_terminal) as progress:
        yield SelectionProgress(progress)


def until_text(selection: Selection) -> str:
    """Return when a selection will be done, or its stage, as far as the service knows."""
    if selection.estimated_finish is not None:
        return f", done at about {clock_text(selection.estimated_finish)}"
    if selection.stage_finish is not None:
        return f", this stage until about {clock_text(selection.stage_finish)}"
    return ""


class WaitingNotes:
    """Lines about what holds a job up, or is shared with others; each is printed when it becomes true."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._before: str | None = None

    def show(self, job: Job) -> None:
        """Say what is new."""
        if not self._said and job.started_at is not None and job.status not in TERMINAL:
            passed = time.time() - job.started_at
            if passed > ATTACHED_LATE:
                self._once(f"it has been running for {duration(passed)}")
        self._said.add("")
        waits = waiting_text(job)
        place = job.waiting and (job.waiting.ahead, job.waiting.workers)
        if waits is not None and str(place) != self._before:
            advice = "; minirec doctor says more" if job.waiting is not None and not job.waiting.workers else ""
            note(f"waiting: {waits}{advice}")
        self._before = str(place) if waits is not None else None
        if job.shared_with and waits is None:
            self._once(f"shares this work with {', '.join(job.shared_with)}: it is done once for all of them")

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            note(text)


class SelectionProgress:
    """Bars of the stages that a selection has come through."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._logged: tuple[str, int] | None = None
        self._waiting = WaitingNotes()

    def show(self, selection: Selection) -> None:
        """Bring the bars up to date."""
        self._waiting.show(selection)
        stage = selection.stage if selection.status == "running" and selection.stage else selection.status
        until = until_text(selection)
        self._log(stage, selection.counts, until)
        if stage in ("failed", "cancelling", "cancelled"):
            return
        for earlier, bar in self._bars.items():
            if earlier != stage:
                self._progress.update(bar, total=1, completed=1)
        if stage != "succeeded":
            self._advance(stage, selection.counts, until)

    def _advance(self, stage: str, counts: Counts, until: str) -> None:
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage_name(stage), total=None, counts="")
        text = f"{counts.scored}/{counts.total}" if counts.scored else ""
        text += f" ({counts.cached} reused)" if counts.cached else ""
        text += until
        total = counts.total or None
        self._progress.update(self._bars[stage], total=total, completed=counts.scored, counts=text)

    def _log(self, stage: str, counts: Counts, until: str) -> None:
        """Print a line for every stage and every tenth of it, where there is no screen."""
        tenth = 10 * counts.scored // counts.total if counts.total else 0
        if not notes.is_terminal and (stage, tenth) != self._logged:
            self._logged = stage, tenth
            note(stage_name(stage) + (f" {counts.scored}/{counts.total}{until}" if counts.total else ""))
