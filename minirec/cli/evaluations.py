"""`minirec evaluate`: how good a model is on held-out samples."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api_schemas import Evaluation
from api_schemas.evaluations import EvaluatedSplit
from minirec.cli.connection import Connection
from minirec.cli.evaluation_view import evaluation_details, follow_evaluation
from minirec.cli.model_option import model_reference
from minirec.cli.options import AsJson, Follow, Metadata, Rewards, pairs, parse_rewards, put_settings
from minirec.cli.output import print_json, results, say

SECTIONS = ("rollouts", "model")

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="Id of the dataset, ds_...")]


def evaluate(
    context: typer.Context,
    dataset_id: DatasetId,
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
            dataset=dataset_id,
            model=reference | body.pop("model", {}),
            split=split,
            max_samples=max_samples,
            rewards=parse_rewards(reward),
            metadata=pairs(metadata),
            **body,
        )
        say(f"evaluation {job.id}")
        if follow:
            job = follow_evaluation(client, job.id)
    show(job, as_json)


def show(job: Evaluation, as_json: bool) -> None:
    """Print an evaluation."""
    if as_json:
        print_json([job])
    else:
        results.print(evaluation_details(job))
