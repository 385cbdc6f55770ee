"""The embedded stack: Redis, service, workers and janitor on this machine, under one supervisor."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from minirec.api_schemas.messages import explained
from minirec.cli.append_only import cut_zeros
from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.cli.embedded_redis import EmbeddedRedis, find_server
from minirec.cli.errors import CommandError
from minirec.cli.output import note, notes
from minirec.cli.processes import commands, environment, only_reached_from_here, with_this_python
from minirec.cli.supervisor import Child, Program, Supervisor

LOOPBACK = "127.0.0.1"
PREFERRED_PORT = 8000
READY_SECONDS = 120.0
"""How long the processes may take to come up; a cold disk needs some of it."""
TRIES = 3
"""Starts of a process that ends at once before the whole is given up."""
BAD_FILE = "Bad file format reading the append only file"
LOG_LINES = 5
NEEDED = ("uvicorn", "fastapi", "celery", "redis", "torch", "transformers")
STOP_ORDER = (("api", "janitor", "worker-cpu", "worker"), ("redis",))
"""Redis goes last: the others have something to write down when they stop."""


class StartError(CommandError):
    """The stack did not come up; the message says which process, why, and what to do."""


@contextmanager
def embedded_stack(
    folder: DataFolder, *, port: int | None, models_dir: Path | None, host: str = LOOPBACK
) -> Iterator[tuple[RunningStack, Supervisor]]:
    """Run the stack in `folder` as long as the context is, under a spinner until it is ready.

    Raises `StartError`, `FolderInUseError` or `NoRedisError`.
    """
    check_installed()
    check_settings(os.environ)
    with ExitStack() as held:
        lock = held.enter_context(folder.locked())
        folder.note.unlink(missing_ok=True)  # of a stack that was killed
        server, chosen = find_server(), choose_port(port, host)
        supervisor = Supervisor(note, lock)
        held.callback(supervisor.stop, STOP_ORDER)
        redis = EmbeddedRedis(server, folder.redis, free_port())
        models = models_dir or folder.models
        url = f"http://{reached_at(host)}:{chosen}"
        folder.own_key()
        with notes.status(f"Starting service, workers and Redis in {folder.path} ..."):
            start(supervisor, folder, redis, models, host, chosen)
            wait_until(lambda: is_ready(url), supervisor)
        stack = RunningStack(
            url=url,
            data_dir=str(folder.path.resolve()),
            models_dir=str(models.resolve()),
            pid=os.getpid(),
            pids={name: child.pid for name, child in supervisor.children.items()},
            key_file=str(folder.key_file.resolve()),
            started_at=time.time(),
        )
        folder.write_redis_url(redis.url)
        held.callback(folder.redis_url_file.unlink, missing_ok=True)
        held.enter_context(folder.announced(stack))
        yield stack, supervisor


def start(supervisor: Supervisor, folder: DataFolder, redis: EmbeddedRedis, models: Path, host: str, port: int) -> None:
    """Start Redis, and once it answers the others.

    Args:
        supervisor: Keeps the processes running.
        folder: Where data and logs lie.
        redis: The server and its address.
        models: Folder that local models are read from.
        host: Address that the service listens on.
        port: Port of the service.
    """
    environ = environment(os.environ, folder, models, redis.url, only_this_machine=only_reached_from_here(host))
    log = folder.logs / "redis.log"
    child = supervisor.start(Program("redis", redis.command(), environ, folder.path, log, redis.configuration()))
    wait_until(lambda: redis.answers() or _mended(child, folder), supervisor)
    for name, command in commands(host, port).items():
        log = folder.logs / f"{name}.log"
        supervisor.start(Program(name, with_this_python(command), environ, folder.path, log))


def _mended(redis: Child, folder: DataFolder) -> bool:
    """Cut off what a power cut left at the end of the append-only file, where Redis refuses it; returns false."""
    if redis.failures and BAD_FILE in log_end(redis) and (copy := cut_zeros(folder.redis)) is not None:
        note(
            "[yellow]The end of Redis's append-only file was never written (a power cut?) and is cut off; the last "
            f"second of work may be missing. The file as it was: {copy}[/]"
        )
    return False


def check_installed() -> None:
    """Raise `StartError` where a library of the service or the workers is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise StartError(f"not installed: {', '.join(missing)}. The embedded stack needs: pip install 'minirec[up]'")


def reached_at(host: str) -> str:
    """Return where this machine reaches a service that listens on `host`, as it is written in a URL."""
    if host in ("0.0.0.0", "::"):
        return LOOPBACK if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host


def choose_port(wanted: int | None, host: str = LOOPBACK) -> int:
    """Return the wanted port, which must be free (0: any), else the usual one, else a free one. Raise `StartError`."""
    if wanted is None and not why_not(PREFERRED_PORT, host):
        return PREFERRED_PORT
    if not wanted:
        return free_port()
    reason = why_not(wanted, host)
    if reason:
        raise StartError(f"port {wanted} {reason}. Give another --port, or none to have a free one chosen.")
    return wanted


def why_not(port: int, host: str = LOOPBACK) -> str | None:
    """Return why a port of this machine cannot be listened on, null where it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return "is not for this user; ports from 1024 on are"
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(url: str) -> bool:
    """Return whether the service says that it, and what it needs, is up."""
    try:
        return httpx2.get(f"{url}/health/ready", timeout=5.0, trust_env=False).is_success
    except httpx2.TransportError:
        return False


def wait_until(reached: Callable[[], bool], supervisor: Supervisor) -> None:
    """Wait until `reached` returns true. Raise `StartError` when a process keeps ending or it takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while not reached():
        for child in supervisor.children.values():
            if child.failures >= TRIES:
                raise StartError(f"{child.program.name} does not start. {log_end(child)}")
        if time.monotonic() > deadline:
            logs = next(iter(supervisor.children.values())).program.log.parent
            raise StartError(f"the service is not ready after {READY_SECONDS:g} s. The logs in {logs} say why.")
        time.sleep(0.1)


def log_end(child: Child) -> str:
    """Return where a child's log is and how it ends, without the frames of tracebacks."""
    lines = child.program.log.read_text(errors="replace").splitlines()
    kept, in_frames = [], False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            in_frames = True
        elif not (in_frames and line.startswith((" ", "\t"))):
            in_frames = False
            kept.append(line)
    return f"Its log {child.program.log} ends with:\n" + "\n".join(kept[-LOG_LINES:])


def check_settings(environ: Mapping[str, str]) -> None:
    """Raise `StartError` for a `MINIREC_*` variable with a value that it cannot have."""
    from pydantic import ValidationError

    from minirec.settings import Settings

    given = {name.lower(): value for name, value in environ.items()}
    try:
        Settings()
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = f"MINIREC_{str(fault['loc'][0]).upper()}"
            value = "" if "KEY" in name or "URL" in name else f"={given.get(name.lower(), '')!r}"
            faults.append(f"{name}{value} {explained(fault)}")
        raise StartError("the environment's settings cannot be used: " + "; ".join(faults)) from None
