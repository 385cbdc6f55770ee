"""A fleet: Redis behind TLS, an S3 store, the service with its janitor, and workers, each on a machine of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import trustme

from minirec.cli.embedded_redis import find_server
from minirec.cli.processes import API_HTTP
from minirec.client import MiniRec
from tests.builders import tiny_model
from tests.fleet.wires import Network, network

MACHINES = {name: f"10.77.66.{n}" for n, name in enumerate(("redis", "s3", "api", "w1", "w2", "w3"), start=2)}
HERE = "10.77.66.1"
PASSWORD = "p:w/ü"
LEASE_SECONDS = 6.0
DELAY, LOSS = 0.01, 0.01
"""One way, and of every frame."""
PATIENCE = 120.0


@dataclass(frozen=True)
class Service:
    """A service and its operator's key."""

    url: str
    key: str = field(repr=False)

    def client(self) -> MiniRec:
        return MiniRec(base_url=self.url, api_key=self.key, timeout=120, max_retries=20)

    def get(self, path: str) -> httpx2.Response:
        """Return an answer. Raises what httpx2 raises."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx2.get(f"{self.url}{path}", headers=headers, timeout=30, trust_env=False).raise_for_status()

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers that have reported lately."""
        return list(self.get("/v1/workers").json()["data"])

    def seconds_per_shard(self) -> float:
        """Return how long workers have spent on a shard that scores, from claim to commit, on average."""
        names = ("minirec_unit_seconds_total", "minirec_units_total")
        lines = self.get("/metrics").text.splitlines()
        spent, done = (
            sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f'{name}{{handler="score"'))
            for name in names
        )
        return spent / done


@dataclass
class Fleet:
    """A running fleet."""

    folder: Path
    wires: Network
    environment: dict[str, str]
    service: Service
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, machine: str, *command: str, python: bool = True) -> None:
        """Start a process on a machine; it has files of its own there."""
        scratch = self.folder / machine / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        words = [*self.wires.inside(machine), *([sys.executable] if python else []), *command]
        variables = self.environment | {"TMPDIR": str(scratch), "HOME": str(self.folder / machine)}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words, env=variables, stdout=log, stderr=log, start_new_session=True
            )

    def start_worker(self, machine: str, queues: str = "gpu,train") -> None:
        """Start a Celery worker."""
        options = (
            "-Q",
            queues,
            "-c",
            "1",
            "-n",
            f"{queues.split(',')[0]}@{machine}",
            "--without-gossip",
            "--without-mingle",
        )
        self.start(f"{machine}-{queues}", machine, "-m", "celery", "-A", "minirec.worker.app", "worker", *options)

    def stop(self) -> None:
        """Stop all processes, the last one started first."""
        for process in reversed(self.processes.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def logs(self) -> str:
        """Return the end of every log."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-2500:]}" for path in sorted(self.folder.glob("*.log")))


def until(reached: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> float:
    """Wait for something; return how many seconds that took."""
    begun = time.monotonic()
    while True:
        with contextlib.suppress(httpx2.HTTPError, OSError):
            if reached():
                return time.monotonic() - begun
        assert time.monotonic() - begun < patience, f"waited {patience:.0f} s for {what}"
        time.sleep(0.2)


@contextmanager
def fleet(folder: Path, *, settings: dict[str, str]) -> Iterator[Fleet]:
    """Run a fleet without workers of the gpu queue yet."""
    with ExitStack() as stack:
        wires = stack.enter_context(network(MACHINES, HERE, delay=DELAY, loss=LOSS, seed=1))
        authority, pem = trustme.CA(), folder / "redis.pem"
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        authority.issue_cert(MACHINES["redis"]).private_key_and_cert_chain_pem.write_to_path(str(pem))
        tiny_model(folder / "models")
        key = f"key-{secrets.token_hex(16)}"
        address = f"rediss://:{quote(PASSWORD, safe='')}@{MACHINES['redis']}:6379/0?ssl_ca_certs={folder / 'ca.pem'}"
        given = {
            "REDIS_URL": address,
            "BLOB_URL": "s3://minirec/blobs",
            "API_KEYS": key,
            "MODELS_DIR": str(folder / "models"),
            "ALLOWED_HOSTS": MACHINES["api"],
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "JANITOR_SECONDS": "1",
            "TORCH_THREADS": "1",
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MINIREC_")}
        environment |= {f"MINIREC_{name}": value for name, value in (given | settings).items()}
        environment |= {
            "AWS_ENDPOINT_URL": f"http://{MACHINES['s3']}:5000",
            "AWS_ACCESS_KEY_ID": "fleet",
            "AWS_SECRET_ACCESS_KEY": "fleet",
            "AWS_DEFAULT_REGION": "us-east-1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        made = Fleet(folder, wires, environment, Service(f"http://{MACHINES['api']}:8000", key))
        stack.callback(made.stop)
        _start_stores(made, pem)
        made.start(
            "api",
            "api",
            "-m",
            "uvicorn",
            "minirec.service.app:create_app",
            "--factory",
            "--host",
            "0.0.0.0",
            "--port",
            "8000",
            *API_HTTP,
        )
        made.start("janitor", "api", "-m", "minirec.service.janitor")
        made.start_worker("api", "cpu")
        until(lambda: made.service.get("/health/ready"), "the service to be ready")
        until(lambda: len(made.service.workers()) == 1, "the worker of the cpu queue")
        yield made


def _start_stores(made: Fleet, pem: Path) -> None:
    data = made.folder / "redis"
    data.mkdir()
    redis = ["--port", "6380", "--bind", "127.0.0.1", "--dir", str(data), "--requirepass", PASSWORD]
    made.start("redis", "redis", str(find_server()), *redis, "--appendonly", "yes", "--save", "", python=False)
    made.start("tls", "redis", "-m", "tests.fleet.tls_door", "0.0.0.0", "6379", "6380", str(pem))
    made.start("s3", "s3", "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000")
    bucket = f"http://{MACHINES['s3']}:5000/minirec"
    until(lambda: httpx2.put(bucket, trust_env=False).is_success, "the object store")
