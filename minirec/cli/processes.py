"""The processes of a deployment: the commands that `minirec up` runs are the ones in docker-compose.yml."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import minirec
from minirec.cli.data_folder import DataFolder

DURABLE_REDIS = ("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
"""What the state needs of its Redis: loses at most a second of writes, and never throws keys away to make room."""

WORKER_CPU = ("celery", "-A", "minirec.worker.app", "worker", "-Q", "cpu", "-c", "1", "-n", "cpu@%h")
WORKER = ("celery", "-A", "minirec.worker.app", "worker", "-Q", "gpu,train", "-c", "1", "-n", "gpu@%h")
API_STOP = ("--timeout-graceful-shutdown", "5")
"""A held long poll does not keep the service from stopping for longer."""
API_HTTP = ("--http", "minirec.service.protocol:ImpatientProtocol")
"""Requests that stay half sent are closed."""
JANITOR = ("python", "-m", "minirec.service.janitor")


def api(host: str, port: int) -> tuple[str, ...]:
    """Return the service's command."""
    listen = ("--host", host, "--port", str(port))
    return ("uvicorn", "minirec.service.app:create_app", "--factory", *listen, *API_STOP, *API_HTTP)


def commands(host: str, port: int) -> dict[str, tuple[str, ...]]:
    """Return the command of every process but Redis, by the name of its compose service."""
    return {"api": api(host, port), "janitor": JANITOR, "worker-cpu": WORKER_CPU, "worker": WORKER}


def with_this_python(command: tuple[str, ...]) -> list[str]:
    """Return the same command for the interpreter that runs now, whatever is on PATH."""
    program, *arguments = command
    return [sys.executable, *arguments] if program == "python" else [sys.executable, "-m", program, *arguments]


def only_reached_from_here(host: str) -> bool:
    """Return whether who listens on an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment(
    base: Mapping[str, str], folder: DataFolder, models_dir: Path, redis_url: str, *, only_this_machine: bool = True
) -> dict[str, str]:
    """Return the environment of an embedded stack's processes: `base`, whose `MINIREC_*` stay in force, and more.

    Args:
        base: The environment of the command.
        folder: Where the stack keeps everything; its own key is one of the service's.
        models_dir: Where local models are.
        redis_url: The stack's Redis.
        only_this_machine: Answer under this machine's own names only, unless `MINIREC_ALLOWED_HOSTS` has others.
    """
    environ = {name: value for name, value in base.items() if name != "MINIREC_BROKER_URL"}
    # A neighbour on the same cores makes spinning OpenMP threads several times slower than sleeping ones.
    environ = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"} | environ
    packages = str(Path(minirec.__file__).resolve().parents[1])
    if only_this_machine:
        environ["MINIREC_ALLOWED_HOSTS"] = base.get("MINIREC_ALLOWED_HOSTS") or "localhost"
    return environ | {
        "MINIREC_API_KEYS": ",".join(filter(None, [base.get("MINIREC_API_KEYS"), folder.own_key()])),
        "MINIREC_REDIS_URL": redis_url,
        "MINIREC_BLOB_URL": folder.blobs.resolve().as_uri(),
        "MINIREC_MODELS_DIR": str(models_dir.resolve()),
        "PYTHONPATH": os.pathsep.join(filter(None, [packages, base.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
    }
