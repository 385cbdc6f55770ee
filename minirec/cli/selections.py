"""`minirec select` and what comes out of it: scores, subset."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from minirec.api_schemas import Baseline, SampleScore, Selection
from minirec.api_schemas.baselines import BASELINES
from minirec.api_schemas.rows import Split
from minirec.api_schemas.selections import Profile, StratifyBy
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.follow import follow as follow_shown
from minirec.cli.follow import upload
from minirec.cli.model_option import model_reference
from minirec.cli.options import (
    AsJson,
    Follow,
    Limit,
    Metadata,
    Rewards,
    SelectionRef,
    dataset_files,
    pairs,
    parse_rewards,
    parse_size,
    put_settings,
)
from minirec.cli.output import note, print_json, results, selection_details, table
from minirec.client.parts import form_name
from minirec.client.selection_calls import Order, SubsetFormat


def select(
    context: typer.Context,
    size: Annotated[str, typer.Option(help="How many samples (256), or which part of the pool (10%).")],
    model: Annotated[str | None, typer.Option(help="Hub id, or folder of a local model.")] = None,
    signals: Annotated[
        bool, typer.Option("--signals", help="Choose by the rewards uploaded for the dataset; no model then.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="An uploaded dataset: ds_..., or its exact name.")
    ] = None,
    samples: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Samples to upload.")] = None,
    items: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Catalogue to upload.")] = None,
    prompts: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Prompts to upload.")] = None,
    reward: Rewards = None,
    local: Annotated[
        bool | None, typer.Option("--local/--hub", help="Where the model is; guessed unless given.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter: hub id, or folder.")] = None,
    pool_size: Annotated[int | None, typer.Option(min=1, help="Score a random part of this many samples only.")] = None,
    split: Annotated[Split | None, typer.Option(help="Only samples of this split.")] = None,
    profile: Annotated[Profile | None, typer.Option(help="The method, or its published computation.")] = None,
    rollouts: Annotated[int | None, typer.Option(min=1, help="Rollouts per sample, G.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest reasoning, in tokens.")] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help=f"A baseline to compare with: {', '.join(BASELINES)}; may be repeated."),
    ] = None,
    stratify_by: Annotated[
        StratifyBy | None, typer.Option(help="Choose from each of these no more than its share.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any other setting of the API; may be repeated."),
    ] = None,
    metadata: Metadata = None,
    follow: Follow = True,
    as_json: AsJson = False,
) -> None:
    """Choose the samples worth training on, and their order.

    The service scores the pool with the model, which takes long, and chooses, which does not:

        minirec select --samples s.jsonl --items i.jsonl --model Qwen/Qwen2.5-0.5B-Instruct --size 10%
        minirec select --dataset ds_abc --model ./my-model --adapter ./proxy --size 256 --pool-size 5000
        minirec select --dataset ds_abc --model ./my-model --size 512 --set weights.alpha=2 --set rollouts.top_k=0
        minirec select --dataset ds_abc --model ./my-model --size 512 --set proxy.updates=30 --baseline random
        minirec select --dataset ds_abc --signals --size 512

    Prompts that are answered in text need to know what an answer earns:

        minirec select --prompts prompts.jsonl --reward exact_answer --model ./my-model --size 10%
        minirec select --dataset ds_abc --reward exact_title --reward token_f1=0.5 --model ./my-model --size 256

    Ctrl-C leaves the job running. A second selection on the same pool and model reuses what the first has scored.
    """
    connection: Connection = context.obj
    body: dict[str, Any] = {}
    given = {"pool.max_samples": pool_size, "pool.split": split, "rollouts.group_size": rollouts}
    given["rollouts.max_new_tokens"] = max_new_tokens
    put_settings(body, [f"{path}={value}" for path, value in given.items() if value is not None] + (settings or []))
    count = parse_size(size)
    files = dataset_files(samples, items, prompts)
    if (dataset is None) == (not files):
        raise typer.BadParameter("give --dataset, or files: --samples and --items, or --prompts")
    reference = body.pop("model", {})
    if model is not None:
        reference = model_reference(connection, model, local=local, revision=revision, adapter=adapter) | reference
    elif not signals:
        raise typer.BadParameter("give --model, or --signals to choose by uploaded rewards")
    # Before the upload: a refused selection would leave the dataset behind.
    if prompts is not None and not reward:
        raise typer.BadParameter("say what an answer to a prompt earns with --reward; minirec rewards lists them")
    with connection.client() as client:
        if dataset is None:
            dataset = upload(client, files, form_name(next(iter(files.values()))).partition(".")[0]).id
            note(f"dataset {dataset}")
        else:
            dataset = names.dataset_id(client, dataset)
        selection: Selection = client.selections.create(
            dataset=dataset,
            model=reference or None,
            signals="uploaded" if signals else None,
            rewards=parse_rewards(reward),
            size=count,
            profile=profile,
            stratify_by=stratify_by,
            baselines=cast("list[Baseline] | None", baseline),
            metadata=pairs(metadata),
            **body,
        )
        note(f"selection {selection.id}")
        if follow:
            selection = follow_shown(client, selection.id)
    show(selection, as_json)


def scores(
    context: typer.Context,
    selection: SelectionRef,
    order: Annotated[Order, typer.Option(help="The pool's order, or the picked samples first.")] = "rank",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show what was measured of the samples: reward, learnability L, representativeness R.

    The picked ones come first, in the order of picking:

        minirec scores sel_abc
        minirec scores sel_abc --order pool --limit 100000 --json > scores.json

    `gate` says which samples could teach nothing, `place` where a sample stands in the training order.
    """
    connection: Connection = context.obj
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        found = islice(client.selections.scores(selection_id, order=order), limit)
        print_json(found) if as_json else results.print(score_table(found))


def subset(
    context: typer.Context,
    selection: SelectionRef,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")] = None,
    format: Annotated[
        SubsetFormat | None, typer.Option(help="By the file's ending unless given; jsonl without a file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the selected samples in training order.

    As rows with their scores, or as ids alone:

        minirec subset sel_abc -o subset.parquet
        minirec subset sel_abc --format ids | jq -r .ids[]

    `minirec export` makes the files that trainers read.
    """
    connection: Connection = context.obj
    if as_json and output is None and format not in (None, "ids"):
        raise typer.BadParameter(f"one JSON document, and {format}, cannot both go to standard output: give --output")
    chosen = format or ("ids" if as_json and output is None else format_of(output))
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        if output is not None:
            client.selections.download_subset(selection_id, output, format=chosen)
            note(f"{output} written")
            if as_json:
                print_json({"selection_id": selection_id, "path": str(output), "format": chosen})
            return
        if chosen == "parquet" and sys.stdout.isatty():
            raise typer.BadParameter("Parquet is not for the screen: give --output")
        with tempfile.TemporaryDirectory() as folder:
            path = client.selections.download_subset(selection_id, Path(folder) / "subset", format=chosen)
            sys.stdout.buffer.write(path.read_bytes())


def show(selection: Selection, as_json: bool) -> None:
    """Print a selection, and what to do with a finished one."""
    if as_json:
        print_json(selection)
        return
    results.print(selection_details(selection))
    if selection.status == "succeeded":
        note(
            f"\n  minirec subset {selection.id} -o subset.jsonl     the samples, in training order\n"
            f"  minirec scores {selection.id}                      what was measured"
        )


def score_table(rows: Iterable[SampleScore]) -> Table:
    """Build a table of scores."""
    lines = (
        (
            ordinal(row.picked_rank),
            row.id,
            f"{row.reward_mean:.3f}",
            f"{row.pass_rate:.2f}",
            f"{row.learnability:.3f}",
            "" if row.representativeness is None else f"{row.representativeness:.3f}",
            verdict(row),
            ordinal(row.training_position),
        )
        for row in rows
    )
    numbers = ("pick", "reward", "pass", "L", "R", "place")
    return table(("pick", "id", "reward", "pass", "L", "R", "gate", "place"), lines, right=numbers)


def verdict(row: SampleScore) -> str:
    """Return the gate's verdict on a sample, and the number that decided: `too easy (0.97)`."""
    number = "" if row.gate_value is None else f" ({row.gate_value:.3g})"
    return row.gate.replace("_", " ") + number


def ordinal(index: int | None) -> str:
    """Return a 0-based index as people count."""
    return "" if index is None else str(index + 1)


def format_of(output: Path | None) -> SubsetFormat:
    """Return the format that a file's ending names. Raise `typer.BadParameter`."""
    suffix = output.suffix if output is not None else ".jsonl"
    formats: dict[str, SubsetFormat] = {".jsonl": "jsonl", ".parquet": "parquet", ".json": "ids"}
    if suffix not in formats:
        raise typer.BadParameter(f"the ending of {output} names no format: .jsonl, .parquet and .json do, or --format")
    return formats[suffix]
