"""Redis, the stacks that run on this machine, and the service that commands would talk to."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator

import httpx2

from minirec import __version__, redis_url
from minirec.cli.checks.finding import Finding, ok, problem, warning
from minirec.cli.connection import Connection
from minirec.cli.embedded_redis import VERSION, NoRedisError, find_server
from minirec.client import ConfigurationError, MiniRecError
from minirec.client.endpoint import without_credentials
from minirec.client.local import RunningStack, running_stacks

SECONDS = 5.0
"""How long a server may take to answer."""


def services(connection: Connection) -> Iterator[Finding]:
    """Look at Redis, the stacks here, and the service of the commands."""
    yield redis()
    stacks = running_stacks()
    for stack in stacks:
        yield stack_here(stack)
    if not stacks:
        yield ok("stacks here", "none runs; minirec up starts one", stacks=0)
    if connection.base_url or stacks:
        yield service(connection)


def redis() -> Finding:
    """Look at the Redis that is set, else at the server that `minirec up` would start."""
    if os.environ.get("MINIREC_REDIS_URL"):
        return redis_elsewhere(os.environ["MINIREC_REDIS_URL"])
    try:
        binary = find_server()
    except NoRedisError as error:
        if importlib.util.find_spec("celery") is None:
            return ok("redis server", "none, and the client needs none")
        return problem("redis server", "none", str(error).capitalize())
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    version = VERSION.search(said)
    number = f"{version[1]}.{version[2]}" if version else "of an unknown version"
    return ok("redis server", f"{binary} ({number}), which minirec up starts", path=str(binary), version=number)


def redis_elsewhere(url: str) -> Finding:
    """Ask the Redis at an address what it is."""
    try:
        import redis as client
    except ImportError:
        return warning("redis server", "MINIREC_REDIS_URL is set, no client installed", "pip install 'minirec[up]'")
    shown = without_credentials(url)
    try:
        with client.Redis.from_url(
            redis_url.checked(url), socket_timeout=SECONDS, socket_connect_timeout=SECONDS
        ) as server:
            info = server.info()
    except (client.RedisError, ValueError, OSError) as error:
        words = str(error).replace(url, shown)
        return problem("redis server", f"{shown}: {words}", "Start it, or correct MINIREC_REDIS_URL.", url=shown)
    facts = {"url": shown, "version": info["redis_version"], "policy": info.get("maxmemory_policy")}
    found = f"{shown} answers, version {info['redis_version']}"
    if info.get("maxmemory_policy") not in (None, "noeviction"):
        advice = "Set maxmemory-policy noeviction: this one throws away jobs and scores when memory is short."
        return problem("redis server", f"{found}, maxmemory-policy {facts['policy']}", advice, **facts)
    if not info.get("aof_enabled"):
        return warning("redis server", f"{found}, no append-only file", "Set appendonly yes: a restart loses jobs.")
    return ok("redis server", found, **facts)


def stack_here(stack: RunningStack) -> Finding:
    """Look at a stack of `minirec up` on this machine."""
    where = f"{stack.url}, data in {stack.data_dir}, process {stack.pid}"
    facts = {"url": stack.url, "data_dir": stack.data_dir, "models_dir": stack.models_dir, "pid": stack.pid}
    try:
        answer = httpx2.get(f"{stack.url}/health/ready", timeout=SECONDS, trust_env=False)
    except httpx2.TransportError as error:
        advice = f"See {stack.data_dir}/logs/api.log; end the stack with kill {stack.pid}, and start it again."
        return problem("stack here", f"{where} does not answer ({type(error).__name__})", advice, **facts)
    if not answer.is_success:
        checks = answer.json().get("checks", {})
        said = "; ".join(f"{name}: {words}" for name, words in checks.items() if words != "ok")
        return problem("stack here", f"{where} is not ready: {said}", f"See {stack.data_dir}/logs.", **facts)
    workers = workers_of(stack)
    if workers == []:
        advice = f"Nothing computes. See {stack.data_dir}/logs/worker.log and worker-cpu.log."
        return problem("stack here", f"{where}; no worker reports", advice, **facts)
    said = "" if workers is None else f"; workers: {', '.join(workers)}"
    return ok("stack here", f"{where}{said}", workers=workers, **facts)


def workers_of(stack: RunningStack) -> list[str] | None:
    """Return the workers of a stack with their queues and what they do; null where it does not tell this user."""
    headers = {"Authorization": f"Bearer {stack.api_key}"} if stack.api_key else {}
    try:
        answer = httpx2.get(f"{stack.url}/v1/workers", headers=headers, timeout=SECONDS, trust_env=False)
        answer.raise_for_status()
        found = answer.json()["data"]
    except (httpx2.HTTPError, ValueError, KeyError):
        return None
    return [
        f"{'+'.join(each['queues'])} on {each.get('gpu') or 'CPU'} ({each.get('doing') or 'waits'})" for each in found
    ]


def service(connection: Connection) -> Finding:
    """Ask the service that commands talk to for its version, and whether the key opens it."""
    try:
        with connection.client() as found:
            client = found.with_options(timeout=SECONDS, max_retries=0)
            url, version = without_credentials(client.base_url), client.version().version
            next(iter(client.datasets.list(limit=1)), None)
    except ConfigurationError as error:
        return warning("service", str(error), "Until one is named, commands refuse to guess.")
    except MiniRecError as error:
        return problem("service", str(error), "Commands will not work before that is mended.")
    facts = {"url": url, "version": version}
    if version != __version__:
        advice = f"Install the same here: pip install minirec=={version}. What is new in one, the other refuses."
        return warning("service", f"{url} is version {version}, this is {__version__}", advice, **facts)
    return ok("service", f"commands talk to {url}, version {version}; the key opens it", **facts)
