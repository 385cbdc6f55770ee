"""The `minirec` command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from minirec import __version__
from minirec.api_schemas.messages import plain
from minirec.cli import datasets, evaluations, jobs, keys, models, selection_nouns, selections, training
from minirec.cli.compare import compare
from minirec.cli.connection import Connection
from minirec.cli.demo import demo
from minirec.cli.doctor import doctor
from minirec.cli.explain import explain
from minirec.cli.exports import export
from minirec.cli.faults import report, report_threads
from minirec.cli.gc import gc
from minirec.cli.imports import import_source
from minirec.cli.plot import plot
from minirec.cli.report import report as report_command
from minirec.cli.reward_profile import profile
from minirec.cli.rewards import rewards
from minirec.cli.up import up


@contextmanager
def plain_usage_errors() -> Iterator[None]:
    """Take the words of the library that reads options out of the errors about them."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = plain(error.message)
        raise


class Commands(TyperGroup):
    """Commands whose errors are printed in words. No traceback reaches the user."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with plain_usage_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, context: Any) -> Any:
        with plain_usage_errors():
            return super().invoke(context)

    def main(self, args: Sequence[str] | None = None, *arguments: Any, **options: Any) -> Any:
        report_threads()
        given = sys.argv[1:] if args is None else args
        try:
            return super().main(args, *arguments, **options)
        except Exception as error:
            report(error, given)
        sys.exit(1)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


def keep_examples(commands: typer.Typer) -> None:
    """Keep examples that end a help text on lines of their own.

    typer takes the indentation from a text twice. Where only indented lines follow the first, they lose it, and are
    printed as one paragraph: an unindented line behind them, which prints nothing, keeps it.
    """
    for command in commands.registered_commands:
        text = inspect.cleandoc(command.help or inspect.getdoc(command.callback) or "")
        if text.rpartition("\n")[2].startswith(" "):
            command.help = f"{text}\n\n<!-- -->"
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            keep_examples(group.typer_instance)


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

    See it work, run it here, bring your files, select, take the result, train on it:

        minirec demo
        minirec up
        minirec import ml-100k.inter ml-100k.item -o ml-100k
        minirec select --samples s.jsonl --items i.jsonl --model MODEL --size 10%
        minirec subset sel_... -o subset.jsonl
        minirec train sel_... -o adapter
        minirec evaluate ds_... --model MODEL --adapter adapter

    Every command explains itself with --help.
    """
    context.obj = Connection(base_url, api_key)


app.command()(up)
app.command()(demo)
app.command("import")(import_source)
app.add_typer(datasets.app, name="datasets")
app.add_typer(selection_nouns.app, name="selections")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.command()(selections.select)
app.command("list")(jobs.list_jobs)
app.command()(jobs.status)
app.command("show")(jobs.status)
app.command()(rewards)
app.command()(selections.scores)
app.command()(selections.subset)
app.command()(export)
app.command("report")(report_command)
app.command()(explain)
app.command()(compare)
app.command()(plot)
app.command()(profile)
app.command()(training.train)
app.command()(training.download)
app.command()(evaluations.evaluate)
app.command()(jobs.cancel)
app.command()(jobs.retry)
app.command()(jobs.delete)
app.add_typer(keys.app, name="keys")
app.command()(gc)
app.command()(doctor)

keep_examples(app)

if __name__ == "__main__":
    app(prog_name="minirec")
