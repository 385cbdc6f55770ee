"""`minirec demo`: real data, a small model that has read its past, and the whole service, on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from minirec.api_schemas import Ranking, SampleScore, Selection, SubsetRow, TrainingJob
from minirec.api_schemas.training import GrpoSettings
from minirec.cli.connection import local_client
from minirec.cli.data_folder import DataFolder
from minirec.cli.demo_inputs import FILMS, Inputs, cache, fetch_inputs
from minirec.cli.follow import selection_progress, upload
from minirec.cli.options import AsJson
from minirec.cli.output import duration, print_json, results, selection_details, table, tables_beside
from minirec.cli.output import note as say
from minirec.cli.stack import check_installed, embedded_stack
from minirec.cli.training import fetch
from minirec.cli.training_view import show_training
from minirec.cli.up import stop_on_signals
from minirec.client import MiniRec

SHOWN_PICKS = 15
SHOWN_TITLES = 3
CURRICULUM_GROUP = 8
TEST_SAMPLES = 640
LEARNING_RATE = 1e-4
"""Ten times the default: the effect of a few updates should be visible."""
ROLLOUTS = {"max_new_tokens": 3, "tau": 0.05}
"""Of the model's pre-training: an answer after a title or two, and the temperature of its softmax over the films."""
GROUP = 4
"""Rollouts per sample, the default."""
GRPO = {"learning_rate": LEARNING_RATE, "learning_rate_schedule": "linear", "catalogue_refresh": 24}
PROXY = {"samples": 240, "updates": 30, "grpo": GRPO}


def demo(
    pool: Annotated[int, typer.Option(min=2, help="Samples to score; a random part of the training split.")] = 1000,
    size: Annotated[int, typer.Option(min=1, help="Samples to pick.")] = 100,
    train: Annotated[
        int | None,
        typer.Option(min=1, help="Then train on the picks and on a random subset, for this many updates of 8 samples."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the subset and the plots.")] = Path("demo-output"),
    data_dir: Annotated[
        Path | None, typer.Option(help="The stack's data folder; kept in the cache unless given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See it work: a small model recommends films to MovieLens users, and the service picks what to train on.

    The model is pre-trained here on what these users watched earlier. Everything runs on this machine, through the REST
    API; nothing needs to be set up. What is downloaded, made and scored is kept in ~/.cache/minirec: the second time is
    quick:

        minirec demo
        minirec demo --pool 4000 --size 400 --train 48
    """
    if size > pool:
        raise typer.BadParameter(f"--size {size} is more than --pool {pool}")
    check_installed()
    stop_on_signals()
    started = time.monotonic()
    say_settings(pool, size)
    inputs = fetch_inputs()
    folder = DataFolder(data_dir or cache() / "demo")
    with (
        tables_beside(as_json),
        embedded_stack(folder, port=0, models_dir=inputs.models_dir) as (stack, _),
        local_client(stack) as client,
    ):
        try:
            selection = run(client, inputs, settings(inputs, pool), size, output)
            if train is not None:
                compare_training(client, selection, train, output)
        except KeyboardInterrupt:
            say("\nWhat has been scored is kept: the next demo resumes from there.")
            raise typer.Exit(130) from None
        finally:
            say("Stopping service, workers and Redis ...")
    if as_json:
        print_json(selection)
    say(f"\nDone in {duration(time.monotonic() - started)}. The data: {inputs.acknowledgement}")
    say(
        "\nLarger: make demo POOL=4000 SIZE=400, or minirec demo --pool 4000 --size 400"
        "\nTrain on the picks and on a random subset: make demo TRAIN=48, or minirec demo --train 48"
        f"\nLook around: minirec up --data-dir {folder.path} --models-dir {inputs.models_dir}"
    )


def run(client: MiniRec, inputs: Inputs, request: dict[str, Any], size: int, output: Path) -> Selection:
    """Upload, select, show and write what was picked; then select again with another size.

    Args:
        client: Of the running stack.
        inputs: Samples, items and the model.
        request: Settings of the selection.
        size: How many samples to select.
        output: Folder for the files.

    Returns:
        The first selection.
    """
    dataset = upload(client, {"samples": inputs.samples, "items": inputs.items}, "MovieLens 100K")
    say(f"Uploaded {dataset.n_samples:,} samples and {dataset.n_items:,} items as {dataset.id}")
    first, seconds = select(client, dataset.id, size, request)
    results.print(selection_details(first))
    results.print(waste_table(client, first))
    rows = list(client.selections.subset_rows(first.id))
    results.print(picks_table(rows, read_titles(inputs.items)))
    write_output(client, first, rows, output)
    again = max(1, size // 2)
    say(f"\nAnother size, {again}, from the same scores:")
    _, quick = select(client, dataset.id, again, request)
    say(f"The first selection took {duration(seconds)}, this one {duration(quick)}.")
    return first


def waste_table(client: MiniRec, selection: Selection) -> Table:
    """Build a table of what the picks save: the rollouts of samples that nothing can be learnt from."""
    assert selection.result is not None
    rows = {row.id: row for row in client.selections.scores(selection.id)}
    random = [rows[name] for name in client.selections.baseline(selection.id, "random").ids]
    picked = [row for row in rows.values() if row.picked_rank is not None]
    made = table(
        ("", f"{len(random)} at random", f"{len(picked)} picked"),
        [
            ("without a signal", *(f"{n_wasted(part)} samples" for part in (random, picked))),
            (
                "rollouts wasted an epoch",
                *(f"{GROUP * n_wasted(part)} of {GROUP * len(part)}" for part in (random, picked)),
            ),
            ("mean reward", *(f"{sum(row.reward_mean for row in part) / len(part):.3f}" for part in (random, picked))),
        ],
        right=(f"{len(random)} at random", f"{len(picked)} picked"),
    )
    made.title = "What training on them would cost"
    made.title_justify = "left"
    return made


def n_wasted(part: list[SampleScore]) -> int:
    """Return how many of the samples the gate sets aside."""
    return sum(row.gate != "open" for row in part)


def compare_training(client: MiniRec, selection: Selection, updates: int, folder: Path) -> None:
    """Train on the picks and on a random subset from the same start, and show both beside one another."""
    random = client.selections.baseline(selection.id, "random").ids
    of_picks: dict[str, Any] = {"selection": selection.id}
    at_random: dict[str, Any] = {
        "dataset": selection.dataset_id,
        "ids": random,
        "model": selection.request.model,
    }
    done = {}
    for name, samples in (("random", at_random), ("picked", of_picks)):
        say(f"\nTraining on the {len(random)} samples {name}, for {updates} updates:")
        args = {"updates": updates, "grpo": GRPO, "rollouts": selection.request.rollouts.model_dump()}
        job = client.training_jobs.create(
            **samples, args=args, evaluation={"valid_samples": 0, "test_samples": TEST_SAMPLES}
        )
        show_training(client, job.id)
        done[name] = client.training_jobs.wait(job.id)
        fetch(client, job.id, folder / f"adapter-{name}")
    results.print(training_table(done, folder, updates))
    say("One run each: the next seed may say otherwise. docs/results.md has many, on four sets.")


def training_table(done: Mapping[str, TrainingJob], folder: Path, updates: int) -> Table:
    """Build a table of the start and of what two jobs made of it."""
    found = {name: job.result for name, job in done.items()}
    start = next(result.test_before for result in found.values() if result is not None)
    columns = {"start": start} | {name: result and result.test_after for name, result in found.items()}
    rows = [
        (f"{measure.upper()}@{k}", *(_cell(ranking, measure, k) for ranking in columns.values()))
        for measure, k in (("ndcg", "10"), ("ndcg", "50"), ("hr", "10"), ("hr", "50"))
    ]
    wasted = (_dead_groups(folder / f"adapter-{name}" / "metrics.jsonl") for name in done)
    rows.append(("groups without a signal", "", *(f"{dead} of {groups}" for dead, groups in wasted)))
    made = table(("", *columns), rows, right=tuple(columns))
    made.title = f"{TEST_SAMPLES} test samples, after {updates} updates"
    made.title_justify = "left"
    return made


def _cell(ranking: object, measure: str, k: str) -> str:
    return f"{getattr(ranking, measure)[k]:.4f}" if isinstance(ranking, Ranking) else ""


def _dead_groups(metrics: Path) -> tuple[int, int]:
    """Return in how many groups of rollouts of a run all ended alike, and how many there were."""
    updates = [json.loads(line) for line in metrics.read_text().splitlines()]
    batch = GrpoSettings().batch_size
    return sum(update["dead_groups"] for update in updates), batch * len(updates)


def say_settings(pool: int, size: int) -> None:
    """Say what will be done, and how to have it otherwise."""
    say(
        f"[bold]MiniRec demo[/]: pick {size} of {pool} samples of MovieLens 100K ({FILMS} films), {GROUP} rollouts "
        "each, with a small model that is pre-trained here\n"
        f"  --pool {pool} --size {size}    (or POOL= and SIZE= of make demo)"
    )


def settings(inputs: Inputs, pool: int) -> dict[str, Any]:
    """Return the selection's request without dataset and size."""
    return {
        "model": {"source": "local", "id": inputs.model_id, "dtype": "float32"},
        "proxy": PROXY,
        "pool": {"max_samples": pool},
        "rollouts": ROLLOUTS,
        "curriculum": {"group_size": CURRICULUM_GROUP},
        "baselines": ["random"],
    }


def select(client: MiniRec, dataset_id: str, size: int, request: dict[str, Any]) -> tuple[Selection, float]:
    """Run a selection under progress bars; returns it and the seconds it took."""
    started = time.monotonic()
    job = client.selections.create(dataset=dataset_id, size=size, **request)
    with selection_progress() as view:
        done = client.selections.wait(job.id, on_update=view.show)
    return done, time.monotonic() - started


def picks_table(rows: list[SubsetRow], titles: dict[str, str]) -> Table:
    """The first picks: who, what came next, and why."""
    picked = sorted(rows, key=lambda row: row.picked_rank)[:SHOWN_PICKS]
    lines = (
        (
            str(row.picked_rank + 1),
            " · ".join(titles[item] for item in row.sample["history"][-SHOWN_TITLES:])
            + f"  →  {titles[row.sample['target']]}",
            f"{row.reward_mean:.3f}",
            f"{row.learnability:.3f}",
            "" if row.representativeness is None else f"{row.representativeness:.3f}",
        )
        for row in picked
    )
    made = table(
        ("pick", "last liked → liked next", "mean reward", "L", "R"), lines, right=("pick", "mean reward", "L", "R")
    )
    made.title = f"The first {len(picked)} of {len(rows)} picks"
    made.title_justify = "left"
    return made


def read_titles(items: Path) -> dict[str, str]:
    """Title of every item."""
    with items.open(encoding="utf-8") as file:
        return {row["item_id"]: row["title"] for row in map(json.loads, file)}


def write_output(client: MiniRec, selection: Selection, rows: list[SubsetRow], output: Path) -> None:
    """Write the subset and the two plots."""
    from minirec.cli.plots import plot_curriculum, plot_scores

    output.mkdir(parents=True, exist_ok=True)
    scores: list[SampleScore] = list(client.selections.scores(selection.id))
    written = (
        client.selections.download_subset(selection.id, output / "subset.jsonl"),
        plot_curriculum(rows, output / "curriculum.png"),
        plot_scores(scores, output / "scores.png"),
    )
    say("Written: " + "  ".join(str(path) for path in written))
