"""A running compose project, as tests see it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minirec.client import MiniRec

ROOT = Path(__file__).parents[2]
OURS = ("api", "janitor", "worker-cpu", "worker")


@dataclass(frozen=True)
class Deployment:
    """A project of docker-compose.yml with its environment."""

    project: str
    variables: dict[str, str]
    key: str
    url: str
    files: Path

    @property
    def environment(self) -> dict[str, str]:
        """What compose and the commands of the docs are run with."""
        return os.environ | self.variables | {"COMPOSE_PROJECT_NAME": self.project}

    def compose(self, *arguments: str) -> str:
        """Run docker compose on the project, and return what it printed."""
        program = Path(sys.executable).with_name("docker-compose")
        command = [
            str(program),
            "--project-directory",
            str(ROOT),
            "--file",
            str(ROOT / "docker-compose.yml"),
            *arguments,
        ]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self.logs() if arguments[0] == 'up' else ''}"
        return done.stdout

    def logs(self) -> str:
        """Return the end of every container's log, for a failing test's message."""
        program = Path(sys.executable).with_name("docker-compose")
        command = [str(program), "--file", str(ROOT / "docker-compose.yml"), "logs", "--tail", "40"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def client(self) -> MiniRec:
        """Return a client with the deployment's key."""
        return MiniRec(base_url=self.url, api_key=self.key)

    def container(self, service: str) -> str:
        """Return the id of a service's first container."""
        return self.compose("ps", "--quiet", service).split()[0]

    def inspect(self, service: str) -> Any:
        """Return what the engine knows of a service's container."""
        return json.loads(docker("inspect", self.container(service)))[0]

    def shell(self, service: str, script: str) -> str:
        """Run a script in a service's container, and return what it printed."""
        return docker("exec", self.container(service), "sh", "-ec", script)

    def run_documented(self, heading: str, block: int, folder: Path) -> None:
        """Run one of the blocks of commands under a heading of docs/operations.md that say so, in `folder`."""
        page = (ROOT / "docs" / "operations.md").read_text()
        section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"<!-- executed by tests/images -->\n```sh\n(.*?)```", section, re.DOTALL)
        # Compose as installed beside the tests, whichever plugins the engine's client has.
        program = Path(sys.executable).with_name("docker-compose")
        wrapper = (
            'docker() { [ "$1" = compose ] || { command docker "$@"; return; }; shift; '
            f'"{program}" --project-directory "{ROOT}" --file "{ROOT}/docker-compose.yml" "$@"; }}\n'
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", wrapper + blocks[block]],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{blocks[block]}\n{done.stdout}\n{done.stderr}"


def docker(*arguments: str) -> str:
    """Run the engine's client, and return what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout
