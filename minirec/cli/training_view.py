"""Training jobs on the screen: live progress, details, tables."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from minirec.api_schemas import Event, Ranking, TextScore, TrainingJob, TrainingResult
from minirec.cli.follow import WaitingNotes, leaving_it_running
from minirec.cli.output import ago, duration, note, notes, progress_rows, rewards_text, stage_name, state_text, table
from minirec.client import MiniRec


def follow_training(client: MiniRec, job_id: str) -> TrainingJob:
    """Show a training job's progress until it is over; Ctrl-C ends the showing, not the job.

    Raises `JobFailedError` and `JobCancelledError`.
    """
    with leaving_it_running(job_id):
        show_training(client, job_id)
        return client.training_jobs.wait(job_id)


def show_training(client: MiniRec, job_id: str) -> None:
    """Show a training job's events until the last one."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<18}"), BarColumn(), TextColumn("{task.fields[numbers]}"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *times, console=notes, disable=not notes.is_terminal) as progress:
        view = TrainingProgress(progress)
        WaitingNotes().show(client.training_jobs.retrieve(job_id))
        for event in client.training_jobs.events(job_id):
            view.show(event)


class TrainingProgress:
    """A bar per stage, with the last update's numbers, and a line per evaluation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}

    def show(self, event: Event) -> None:
        """Bring the display up to date."""
        data = event.data
        if event.type == "stage":
            self._enter(data["stage"], data["total"])
        elif event.type == "progress" and data["stage"] in self._bars:
            self._progress.update(self._bars[data["stage"]], completed=data["done"])
        elif event.type == "metrics":
            self._update(data["update"], metrics_text(data))
        elif event.type == "evaluation":
            note(f"{data['split']} after {data['update']} updates: {evaluation_text(data)}")
        elif event.type == "warning":
            note(f"[yellow]Warning:[/] {escape(data['message'])}")
        elif event.type == "retry":
            note(f"attempt {data['attempt']} ended ({escape(data['reason'])}); resuming from the last checkpoint")

    def _enter(self, stage: str, total: int) -> None:
        for bar in self._bars.values():
            self._progress.update(bar, total=1, completed=1)
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage_name(stage), total=total, numbers="")
            self._totals[stage] = total
        if not notes.is_terminal:
            note(stage_name(stage))

    def _update(self, update: int, numbers: str) -> None:
        total = self._totals.get("training", 0)
        if "training" in self._bars:
            self._progress.update(self._bars["training"], completed=update, numbers=f"{update}/{total}  {numbers}")
        tenth = max(1, total // 10)
        if not notes.is_terminal and (update % tenth == 0 or update == total):
            # Where there is no screen: a line for every tenth.
            note(f"update {update}/{total}: {numbers}")


def metrics_text(data: dict[str, float]) -> str:
    """Return the numbers of an update that a person looks at."""
    ndcg = f"  NDCG@10 {data['ndcg10']:.3f}" if "ndcg10" in data else ""
    return f"loss {data['loss']:.3f}  reward {data['reward_mean']:.3f}{ndcg}"


def evaluation_text(data: dict[str, float]) -> str:
    """Return the result of an evaluation: of a ranking, or the rewards of text."""
    if "ndcg10" in data:
        return f"NDCG@10 {data['ndcg10']:.4f}, HR@10 {data['hr10']:.4f}"
    return f"mean reward {data['reward_mean']:.4f}, pass rate {data['pass_rate']:.4f}"


def training_details(job: TrainingJob) -> Table:
    """Build a table of a training job, one property a line."""
    request = job.request
    samples = request.selection_id or f"{len(request.ids or ())} samples of {job.dataset_id}"
    rows: list[tuple[str, str | Text]] = [
        ("id", job.id),
        ("status", state_text(job.status, job.stage, job.updates_done, job.updates_total)),
        ("samples", samples),
        ("trainer", request.trainer),
        *([("rewards", rewards_text(request.args.rewards))] if request.args.rewards else []),
        ("model", "" if request.model is None else f"{request.model.id} ({request.model.source})"),
        ("created", ago(job.created_at)),
    ]
    if job.started_at is not None:
        rows.append(("ran for", duration((job.finished_at or time.time()) - job.started_at)))
    rows += progress_rows(job)
    if job.error is not None:
        rows.append(("error", f"{job.error.message} ({job.error.code})"))
    if job.result is not None:
        rows += result_rows(job.result)
    return table(("", ""), rows)


def result_rows(result: TrainingResult) -> list[tuple[str, str | Text]]:
    """Return the rows of a result."""
    stopped = ", stopped early" if result.stopped_early else ""
    rows: list[tuple[str, str | Text]] = [
        ("updates", f"{result.updates}{stopped} ({result.samples_seen} samples seen)")
    ]
    kept = f"after {result.best_update} updates" if result.best_update else "none was better than the model as it was"
    if result.valid_ndcg10 is not None:
        kept += f", NDCG@10 {result.valid_ndcg10:.4f} on validation samples"
    if result.valid_reward is not None:
        kept += f", mean reward {result.valid_reward:.4f} on validation samples"
    rows.append(("adapter", kept))
    rows += [("warning", Text(warning, style="yellow")) for warning in result.warnings]
    before, after = result.test_before, result.test_after
    if isinstance(before, TextScore) and isinstance(after, TextScore):
        rows.append(("test reward", f"{before.reward_mean:.4f} before, {after.reward_mean:.4f} after"))
        rows.append(("test pass rate", f"{before.pass_rate:.4f} before, {after.pass_rate:.4f} after"))
        rows.append(("", f"{after.samples} held-out samples"))
    if isinstance(before, Ranking) and isinstance(after, Ranking):
        for k in ("10", "50"):
            rows.append((f"test NDCG@{k}", f"{before.ndcg[k]:.4f} before, {after.ndcg[k]:.4f} after"))
        rows.append(("test HR@10", f"{before.hr['10']:.4f} before, {after.hr['10']:.4f} after"))
        rows.append(("", f"{after.samples} held-out samples"))
    return rows


def training_table(jobs: Iterable[TrainingJob]) -> Table:
    rows = (
        (
            job.id,
            state_text(job.status, job.stage, job.updates_done, job.updates_total),
            job.request.selection_id or job.dataset_id,
            tested(job.result),
            ago(job.created_at),
        )
        for job in jobs
    )
    return table(("id", "status", "samples", "test", "created"), rows, right=("test",))


def tested(result: TrainingResult | None) -> str:
    """Return the number by which a finished job is judged: NDCG@10, or the mean reward of text."""
    after = None if result is None else result.test_after
    if isinstance(after, Ranking):
        return f"NDCG@10 {after.ndcg['10']:.4f}"
    return "" if after is None else f"reward {after.reward_mean:.4f}"
