"""What a user sees of an error: one line of words. The traceback of an unexpected one goes to a log file."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape

from minirec.cli.data_folder import DataFolder
from minirec.cli.errors import CommandError
from minirec.cli.output import note
from minirec.client import AuthenticationError, JobCancelledError, JobFailedError, MiniRecError
from minirec.client.local import read_key, running_stacks

ERRNO = re.compile(r"^\[Errno \d+\] ")


def report(error: BaseException, arguments: Sequence[str]) -> None:
    """Print what went wrong in a command; `arguments` are its own, and may hold a key, which is not shown."""
    hidden = keys_in(arguments)
    if isinstance(error, JobFailedError | JobCancelledError):
        failure = error.job.error
        helps = failure is None or failure.retryable
        note(f"[red]{escape(without(hidden, str(error)))}[/]" + (f"\n  minirec retry {error.job.id}" if helps else ""))
        return
    words = expected(error)
    if words is None:
        log = write_log(without(hidden, "".join(traceback.format_exception(error))))
        words = f"unexpected {type(error).__name__} ({shortened(error)}). "
        words += f"The whole error is in {log}; please report it with that file."
    note(f"[bold red]Error:[/] {escape(without(hidden, words))}")


def expected(error: BaseException) -> str | None:
    """Return an error in words, null for one that no command expects."""
    if isinstance(error, AuthenticationError):
        return (
            f"{error}\n  Give a key by --api-key or MINIREC_API_KEY. The key of a stack of `minirec up` is in the file "
            "`key` of its data folder; MINIREC_DATA_DIR says which, and the command finds both."
        )
    if isinstance(error, MiniRecError | CommandError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        if error.reason == "surrogates not allowed":
            return f"{error.object[:100]!r} is not valid UTF-8; write it as UTF-8"
        return f"the terminal's encoding, {error.encoding}, cannot show the answer; set PYTHONUTF8=1"
    return ERRNO.sub("", str(error)) if isinstance(error, OSError) else None


def shortened(error: BaseException) -> str:
    """Return an error's first line, cut to 200 characters."""
    line = (str(error).splitlines() or ["no further words"])[0]
    return line if len(line) <= 200 else f"{line[:200]}..."


def write_log(text: str) -> Path:
    """Append a traceback to the log of this user's commands, and return the file."""
    stamped = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}\n{text}\n"
    log = DataFolder.default().logs / "commands.log"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        descriptor, name = tempfile.mkstemp(prefix="minirec-", suffix=".log")
        log = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(stamped)
    return log


def keys_in(arguments: Sequence[str]) -> list[str]:
    """Return the API keys that a command was given, by option or environment, or found with a stack."""
    found = [os.environ.get("MINIREC_API_KEY", ""), read_key(DataFolder.default().key_file) or ""]
    found += [stack.api_key or "" for stack in running_stacks()]
    for place, argument in enumerate(arguments):
        if argument == "--api-key":
            found += arguments[place + 1 : place + 2]
        elif argument.startswith("--api-key="):
            found.append(argument.partition("=")[2])
    return [key for text in found for key in (text, text.strip()) if key]


def without(hidden: Iterable[str], text: str) -> str:
    """Return text with each of the keys replaced."""
    for key in hidden:
        text = text.replace(key, "[key]")
    return text


def report_threads() -> None:
    """Report errors of background threads in the same way."""

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            report(arguments.exc_value, ())

    threading.excepthook = hook
