"""`minirec models`: what jobs used, and what training jobs left."""

from __future__ import annotations

from itertools import islice

import typer

from minirec.api_schemas import UsedModel
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson, Limit
from minirec.cli.output import ago, print_json, results, table

app = typer.Typer(no_args_is_help=True, help="List models that jobs used, and adapters that training jobs left.")


@app.callback()
def models() -> None:
    """Keep `list` a command of its own: an app with one command would be that command."""


@app.command("list")
def list_models(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List models that jobs used, and adapters that training jobs left, newest first.

    `minirec download trn_... -o FOLDER` fetches an adapter by its job. What lies in the models folder of this machine,
    used or not, is in `minirec doctor`.

        minirec models list
        minirec models list --json | jq -r '.[].model.id'
    """
    connection: Connection = context.obj
    with connection.client() as client:
        found = list(islice(client.models.list(), limit))
    if as_json:
        print_json(found)
        return
    rows = ((named(model), model.training_job_id or "", f"{model.jobs:,}", ago(model.last_used_at)) for model in found)
    results.print(table(("model", "adapter left by", "jobs", "last used"), rows, right=("jobs",)))


def named(used: UsedModel) -> str:
    """Return a model's name, its revision where one was asked for, and the adapter on top."""
    model = used.model
    name = model.id if model.revision is None else f"{model.id}@{model.revision}"
    return name if model.adapter is None else f"{name} + {model.adapter.id}"
