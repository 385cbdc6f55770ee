"""The `minirec` command."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from minirec import __version__
from minirec.cli import datasets, evaluations, jobs, selections, training
from minirec.cli.connection import Connection
from minirec.cli.demo import demo
from minirec.cli.errors import CommandError
from minirec.cli.exports import export
from minirec.cli.output import say
from minirec.cli.rewards import rewards
from minirec.cli.up import up
from minirec.client import JobCancelledError, JobFailedError, MiniRecError


class Commands(TyperGroup):
    """Commands whose expected errors are told in words, not as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (JobFailedError, JobCancelledError) as error:
            say(f"[red]{escape(str(error))}[/]\n  minirec retry {error.job.id}")
        except BrokenPipeError:
            raise  # the reader of a pipe has seen enough
        except (MiniRecError, CommandError, OSError) as error:
            say(f"[bold red]Error:[/] {escape(str(error))}")
        raise typer.Exit(1)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


def print_version(wanted: bool) -> None:
    """Print the version and end, where it was asked for."""
    if wanted:
        typer.echo(f"minirec {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    base_url: Annotated[
        str | None, typer.Option(envvar="MINIREC_BASE_URL", help="The service; else the one that runs here.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="MINIREC_API_KEY", help="Key of the service.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which samples should an LLM recommender be trained on, and in which order?

    See it work, run it here, select, take the result, train on it:

        minirec demo
        minirec up
        minirec select --samples s.jsonl --items i.jsonl --model MODEL --size 10%
        minirec subset sel_... -o subset.jsonl
        minirec train sel_... -o adapter
        minirec evaluate ds_... --model MODEL --adapter adapter

    Every command explains itself with --help.
    """
    context.obj = Connection(base_url, api_key)


app.command()(up)
app.command()(demo)
app.add_typer(datasets.app, name="datasets")
app.command()(selections.select)
app.command("list")(jobs.list_jobs)
app.command()(jobs.status)
app.command()(rewards)
app.command()(selections.scores)
app.command()(selections.subset)
app.command()(export)
app.command()(training.train)
app.command()(training.download)
app.command()(evaluations.evaluate)
app.command()(jobs.cancel)
app.command()(jobs.retry)
app.command()(jobs.delete)

if __name__ == "__main__":
    app(prog_name="minirec")
