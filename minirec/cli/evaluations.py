"""`minirec evaluate`: how good a model is on held-out samples; and evaluations on the screen."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from minirec.api_schemas import Evaluation, EvaluationResult
from minirec.api_schemas.evaluations import EvaluatedSplit
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.follow import WaitingNotes, leaving_it_running
from minirec.cli.model_option import model_reference
from minirec.cli.options import AsJson, DatasetRef, Follow, Metadata, Rewards, pairs, parse_rewards, put_settings
from minirec.cli.output import (
    ago,
    duration,
    note,
    notes,
    print_json,
    progress_rows,
    results,
    rewards_text,
    stage_name,
    state_text,
    table,
)
from minirec.client import MiniRec

SECTIONS = ("rollouts", "model")


def evaluate(
    context: typer.Context,
    dataset: DatasetRef,
    model: Annotated[str, typer.Option(help="Hub id, or folder of a local model.")],
    local: Annotated[
        bool | None, typer.Option("--local/--hub", help="Where the model is; guessed unless given.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter: hub id, or folder.")] = None,
    split: Annotated[EvaluatedSplit, typer.Option(help="Whose samples; all for every sample of the dataset.")] = "test",
    max_samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Evaluate a random part of this many samples only.")
    ] = None,
    reward: Rewards = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any other setting of the API; may be repeated."),
    ] = None,
    metadata: Metadata = None,
    follow: Follow = True,
    as_json: AsJson = False,
) -> None:
    """Measure how good a model is on held-out samples: HR@k and NDCG@k over the full catalogue.

    One greedy rollout per sample; only a sample's own history is left out of the catalogue:

        minirec evaluate ds_abc --model Qwen/Qwen2.5-0.5B-Instruct
        minirec evaluate ds_abc --model ./my-model --adapter ./adapter --split valid --samples 500

    Prompts are answered, and the result says what the answers earn:

        minirec evaluate ds_abc --model ./my-model --reward exact_answer --split all
    """
    connection: Connection = context.obj
    body: dict[str, Any] = {}
    put_settings(body, settings, sections=SECTIONS)
    reference = model_reference(connection, model, local=local, revision=revision, adapter=adapter)
    with connection.client() as client:
        job: Evaluation = client.evaluations.create(
            dataset=names.dataset_id(client, dataset),
            model=reference | body.pop("model", {}),
            split=split,
            max_samples=max_samples,
            rewards=parse_rewards(reward),
            metadata=pairs(metadata),
            **body,
        )
        note(f"evaluation {job.id}")
        if follow:
            job = follow_evaluation(client, job.id)
    show(job, as_json)


def show(job: Evaluation, as_json: bool) -> None:
    """Print an evaluation."""
    if as_json:
        print_json(job)
    else:
        results.print(evaluation_details(job))


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
        self._waiting = WaitingNotes()

    def show(self, job: Evaluation) -> None:
        """Bring the display up to date."""
        self._waiting.show(job)
        if job.status != "running" or job.stage is None:
            return
        if job.stage not in self._bars:
            for bar in self._bars.values():
                self._progress.update(bar, total=1, completed=1)
            self._bars[job.stage] = self._progress.add_task(stage_name(job.stage), total=None, numbers="")
            if not notes.is_terminal:
                note(stage_name(job.stage))
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
    rows += progress_rows(job)
    if job.error is not None:
        rows.append(("error", f"{job.error.message} ({job.error.code})"))
    if job.result is not None:
        rows += result_rows(job.result, job.request.rollouts.max_new_tokens)
    return table(("", ""), rows)


def result_rows(result: EvaluationResult, max_new_tokens: int) -> list[tuple[str, str | Text]]:
    """Return what was measured, one number a line."""
    rows: list[tuple[str, str | Text]] = []
    if result.ranking is not None:
        for name, means in (("NDCG", result.ranking.ndcg), ("HR", result.ranking.hr)):
            rows.append((name, "   ".join(f"@{k} {mean:.4f}" for k, mean in means.items())))
    if result.text is not None:
        rows.append(("mean reward", f"{result.text.reward_mean:.4f}"))
        rows.append(("pass rate", f"{result.text.pass_rate:.4f}"))
    rows.append(("", f"{result.samples} samples, one greedy rollout of up to {max_new_tokens} tokens each"))
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
