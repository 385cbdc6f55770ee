"""Evaluations on the screen: live progress, details, tables."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from api_schemas import Evaluation, EvaluationResult
from minirec.cli.follow import leaving_it_running
from minirec.cli.output import ago, duration, notes, rewards_text, say, stage_name, state_text, table
from minirec.client import MiniRec


def follow_evaluation(client: MiniRec, job_id: str) -> Evaluation:
    """Show an evaluation's progress until it is over; Ctrl-C ends the display, not the job.

    Raises `JobFailedError` and `JobCancelledError`.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description:<18}"), BarColumn(), TextColumn("{task.fields[numbers]}"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with (
        leaving_it_running(job_id),
        Progress(*columns, *times, console=notes, disable=not notes.is_terminal) as progress,
    ):
        return client.evaluations.wait(job_id, on_update=EvaluationProgress(progress).show)


class EvaluationProgress:
    """A bar per stage; where there is no screen, a line per stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def show(self, job: Evaluation) -> None:
        """Bring the display up to date."""
        if job.status != "running" or job.stage is None:
            return
        if job.stage not in self._bars:
            for bar in self._bars.values():
                self._progress.update(bar, total=1, completed=1)
            self._bars[job.stage] = self._progress.add_task(stage_name(job.stage), total=None, numbers="")
            if not notes.is_terminal:
                say(stage_name(job.stage))
        numbers = f"{job.samples_done}/{job.samples_total}" if job.samples_total else ""
        self._progress.update(
            self._bars[job.stage], total=job.samples_total, completed=job.samples_done, numbers=numbers
        )


def evaluation_details(job: Evaluation) -> Table:
    """Return an evaluation, one property a line."""
    request = job.request
    adapter = "" if request.model.adapter is None else f" with {request.model.adapter.id}"
    rows: list[tuple[str, str | Text]] = [
        ("id", job.id),
        ("status", state_text(job.status, job.stage, job.samples_done, job.samples_total)),
        ("dataset", job.dataset_id),
        ("samples", f"split {request.split}" if request.split != "all" else "all"),
        ("model", f"{request.model.id} ({request.model.source}){adapter}"),
        *([("rewards", rewards_text(request.rewards))] if request.rewards else []),
        ("created", ago(job.created_at)),
    ]
    if job.started_at is not None:
        rows.append(("ran for", duration((job.finished_at or time.time()) - job.started_at)))
    if job.error is not None:
        rows.append(("error", f"{job.error.message} ({job.error.code})"))
    if job.result is not None:
        rows += result_rows(job.result)
    return table(("", ""), rows)


def result_rows(result: EvaluationResult) -> list[tuple[str, str | Text]]:
    """Return what was measured, one number a line."""
    rows: list[tuple[str, str | Text]] = []
    if result.ranking is not None:
        for name, means in (("NDCG", result.ranking.ndcg), ("HR", result.ranking.hr)):
            rows.append((name, "   ".join(f"@{k} {mean:.4f}" for k, mean in means.items())))
    if result.text is not None:
        rows.append(("mean reward", f"{result.text.reward_mean:.4f}"))
        rows.append(("pass rate", f"{result.text.pass_rate:.4f}"))
    rows.append(("", f"{result.samples} samples, one greedy rollout each"))
    return rows


def evaluation_table(jobs: Iterable[Evaluation]) -> Table:
    """Return evaluations, one a line."""
    rows = (
        (
            job.id,
            state_text(job.status, job.stage, job.samples_done, job.samples_total),
            job.request.model.id,
            f"{job.dataset_id} {job.request.split}",
            found(job.result),
            ago(job.created_at),
        )
        for job in jobs
    )
    return table(("id", "status", "model", "dataset", "result", "created"), rows, right=("result",))


def found(result: EvaluationResult | None) -> str:
    """Return the number that models are compared by: NDCG@10, or the mean reward of text."""
    if result is None:
        return ""
    if result.ranking is not None:
        return f"NDCG@10 {result.ranking.ndcg['10']:.4f}"
    return "" if result.text is None else f"reward {result.text.reward_mean:.4f}"
