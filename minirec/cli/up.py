"""`minirec up`: the whole service on this machine until Ctrl-C, without Docker and without a Redis of your own."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.cli.options import AsJson
from minirec.cli.output import note, notes, print_json
from minirec.cli.processes import only_reached_from_here
from minirec.cli.stack import LOOPBACK, embedded_stack
from minirec.client.local import running_stacks

SIGNAL_SECONDS = 0.5
"""How late a signal may be acted on."""

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="MINIREC_DATA_DIR", help="Where everything is kept.", show_default=False),
]


def up(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the service; 8000 or a free one unless given (0: a free one)."),
    ] = None,
    data_dir: DataDir = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's own let other machines in.")
    ] = LOOPBACK,
    models_dir: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of local models; one in the data folder unless given."),
    ] = None,
    as_json: AsJson = False,
    attached: Annotated[
        bool, typer.Option("--attached", hidden=True, help="End when standard input is closed.")
    ] = False,
) -> None:
    """Run service, workers and a private Redis here until Ctrl-C.

    Everything is kept in one folder (~/.local/share/minirec); the next `minirec up` continues with what is there. Other
    shells find the service by themselves, whatever its folder; where several run, MINIREC_DATA_DIR says which:

        minirec up --models-dir ~/models
        minirec select --samples s.jsonl --items i.jsonl --model ~/models/my-model --size 10%

    The service wants a key: its own is made at the first start, kept in the folder, and found by commands and SDK. To
    let others in, make keys for them (minirec keys create), and put a proxy with TLS in front, or use
    docker-compose.yml.
    """
    folder = DataFolder(data_dir) if data_dir is not None else DataFolder.default()
    stop_on_signals()
    if attached:
        threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    with embedded_stack(folder, port=port, models_dir=models_dir, host=host) as (stack, supervisor):
        if as_json:
            print_json({**asdict(stack), "logs": str(folder.logs)})
            sys.stdout.flush()
        else:
            print_ready(stack, folder)
        if not only_reached_from_here(host):
            note(
                f"[yellow]Other machines reach it over plain HTTP at {escape(host)}: their keys and data can be read "
                "on the way. Put a proxy with TLS in front.[/]"
            )
        try:
            while True:
                # Not signal.pause(): a signal that comes just before it would be acted on with the next one only.
                time.sleep(SIGNAL_SECONDS)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, lambda *_: supervisor.kill_now())
        note("\nStopping; unfinished work resumes with the next start ... (Ctrl-C again: at once)")
    note("Stopped.")


def stop_on_signals() -> None:
    """Make SIGTERM, and SIGHUP unless nohup says otherwise, act like Ctrl-C, also in a script's background."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def end_with(descriptor: int) -> None:
    """Stop this process, as Ctrl-C does, when a pipe is closed: who holds its other end has gone, or is done."""
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


def print_ready(stack: RunningStack, folder: DataFolder) -> None:
    """Print where the service is and what to do next."""
    found = [each.data_dir for each in running_stacks()] == [stack.data_dir]
    find = "" if found else f"    export MINIREC_DATA_DIR={escape(shlex.quote(stack.data_dir))}\n"
    note(
        f"\n[bold green]MiniRec is ready[/] at [bold]{stack.url}[/]   (API documentation: {stack.url}/docs)\n\n"
        f"  Open it in a browser to see datasets, jobs and what was picked.\n\n"
        f"  In another shell:\n{find}"
        "    minirec select --samples samples.jsonl --items items.jsonl --model MODEL --size 10%\n"
        "    minirec list\n\n"
        f"  Key     {escape(shown_key(stack))}\n"
        f"  Data    {escape(stack.data_dir)}\n"
        f"  Models  {escape(stack.models_dir)}\n"
        f"  Logs    {escape(str(folder.logs))}\n\n"
        "Ctrl-C stops it."
    )


def shown_key(stack: RunningStack) -> str:
    """Return the stack's key as it is printed: to a terminal itself, to a log the file that holds it."""
    if notes.is_terminal and stack.api_key:
        return f"{stack.api_key}   (kept in {stack.key_file}; commands and SDK find it there)"
    return f"in {stack.key_file}; commands and SDK find it there"
