"""`minirec selections`: all that is done with selections, which are named by id or by their dataset."""

from __future__ import annotations

from itertools import islice

import typer

from minirec.cli import jobs, names, selections
from minirec.cli.compare import compare
from minirec.cli.connection import Connection
from minirec.cli.explain import explain
from minirec.cli.exports import export
from minirec.cli.options import AsJson, Follow, InState, Limit, OfDataset, SelectionRef, SelectionRefs
from minirec.cli.output import print_json, results, selection_table
from minirec.cli.plot import plot
from minirec.cli.report import report
from minirec.cli.reward_profile import profile

app = typer.Typer(no_args_is_help=True, help="Start, list, show, explain, cancel, retry and delete selections.")

app.command("create")(selections.select)


@app.command("list")
def list_selections(
    context: typer.Context,
    status: InState = None,
    dataset: OfDataset = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List selections, newest first.

    All of them, or those of a dataset or in a state:

        minirec selections list
        minirec selections list --dataset ml-100k --status succeeded
    """
    connection: Connection = context.obj
    with connection.client() as client:
        of = dataset and names.dataset_id(client, dataset)
        found = list(islice(client.selections.list(status=status, dataset=of), limit))
    print_json(found) if as_json else results.print(selection_table(found))


@app.command()
def show(context: typer.Context, selection: SelectionRef, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show a selection; with --follow, until it is over.

    A dataset's name will do where one selection was made from it:

        minirec selections show sel_abc
        minirec selections show ml-100k --follow
    """
    connection: Connection = context.obj
    with connection.client() as client:
        jobs.show(client, names.selection_id(client, selection), follow=follow, as_json=as_json)


@app.command()
def cancel(context: typer.Context, selection: SelectionRef, as_json: AsJson = False) -> None:
    """Stop a selection; what it has scored is kept.

    `minirec selections retry` goes on from there:

        minirec selections cancel sel_abc
    """
    connection: Connection = context.obj
    with connection.client() as client:
        job = client.selections.cancel(names.selection_id(client, selection))
    print_json(job) if as_json else results.print(f"{job.id} {job.status}")


@app.command()
def retry(context: typer.Context, selection: SelectionRef, follow: Follow = True, as_json: AsJson = False) -> None:
    """Resume a failed or cancelled selection from what is finished.

    What is scored is not scored again:

        minirec selections retry sel_abc
    """
    connection: Connection = context.obj
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        client.selections.retry(selection_id)
        jobs.show(client, selection_id, follow=follow, as_json=as_json)


@app.command()
def delete(context: typer.Context, selections: SelectionRefs, as_json: AsJson = False) -> None:
    """Delete selections that have ended, with their results; what others share stays.

    Several at once:

        minirec selections delete sel_abc sel_def
    """
    connection: Connection = context.obj
    with connection.client() as client:
        ids = [names.selection_id(client, selection) for selection in selections]
        jobs.delete_all(client, ids, as_json=as_json)


app.command()(selections.scores)
app.command()(selections.subset)
app.command()(export)
app.command()(report)
app.command()(explain)
app.command()(compare)
app.command()(plot)
app.command()(profile)
