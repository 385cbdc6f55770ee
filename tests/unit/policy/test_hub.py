"""Hub repositories through the hub's own client: what is asked, and what happens without an answer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"

RESOLVE = """
import json, sys, time
from minirec.api_schemas.models import ModelReference
from minirec.policy.reference import ModelRefused, resolve
start = time.monotonic()
try:
    found = resolve(ModelReference(source="hub", id="team/tiny", revision=sys.argv[1] or None), models_root=None)
    told = {"revision": found.revision, "warnings": found.warnings}
except ModelRefused as error:
    told = {"code": error.code, "message": str(error)}
print(json.dumps(told | {"seconds": time.monotonic() - start}))
"""


class Hub(ThreadingHTTPServer):
    """A hub with one repository; counts the requests it gets."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """As much of the hub's API as resolving and downloading take."""

    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = self.path.split("?")[0]
        files = {file.name: file.read_bytes() for file in self.server.folder.iterdir()}
        if path.startswith("/api/models/team/tiny/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": f"{len(content):040d}"}
                for name, content in files.items()
            ]
            self._send(json.dumps(tree).encode())
        elif path.startswith("/api/models/team/tiny"):
            siblings = [{"rfilename": name} for name in files]
            self._send(json.dumps({"id": "team/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif "/resolve/" in path:
            self._send(files[path.rsplit("/", 1)[1]])
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{len(content):040d}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(models_root: Path) -> Iterator[Hub]:
    server = Hub(models_root / "tiny")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def ask(cache: Path, url: str, revision: str = "", **environment: str) -> dict[str, Any]:
    """Resolve in a process of its own, whose cache and hub are these."""
    given = {"HF_HOME": str(cache), "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, revision],
        env=os.environ | given | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_pinned_commit_is_never_asked_for_and_a_branch_once(hub: Hub, tmp_path: Path) -> None:
    assert ask(tmp_path, hub.url)["revision"] == COMMIT
    assert hub.asked
    hub.asked.clear()
    assert ask(tmp_path, hub.url, COMMIT)["revision"] == COMMIT
    assert hub.asked == []
    assert ask(tmp_path, hub.url, "main")["revision"] == COMMIT
    assert [path for path in hub.asked if "team/tiny" in path] == ["/api/models/team/tiny/revision/main"]


def test_a_hub_out_of_reach_falls_back_to_what_was_fetched(hub: Hub, tmp_path: Path) -> None:
    before = ask(tmp_path, closed_port())
    assert before["code"] == "model_not_found"
    for word in ("cannot be reached", "ConnectError", "'team/tiny'", "hf download"):
        assert word in before["message"]
    ask(tmp_path, hub.url)
    after = ask(tmp_path, closed_port())
    assert after["revision"] == COMMIT
    assert "ConnectError" in after["warnings"][0]
    assert COMMIT in after["warnings"][0]
    assert after["seconds"] < 5
    offline = ask(tmp_path, closed_port(), HF_HUB_OFFLINE="1")
    assert (offline["revision"], offline["warnings"]) == (COMMIT, []), "the operator knows"


def test_an_incomplete_copy_does_not_serve(hub: Hub, tmp_path: Path) -> None:
    """A download that was cut off may lack the chat template, and nothing else would tell."""
    ask(tmp_path, hub.url)
    (snapshot,) = tmp_path.glob(f"hub/models--team--tiny/snapshots/{COMMIT}")
    (snapshot / "chat_template.jinja").unlink()
    assert ask(tmp_path, closed_port(), COMMIT)["code"] == "model_not_found"
    assert ask(tmp_path, hub.url, COMMIT)["revision"] == COMMIT, "fetched again"
    shutil.rmtree(snapshot)
    assert ask(tmp_path, closed_port())["code"] == "model_not_found"


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_given_up_soon(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        told = ask(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert told["code"] == "model_not_found"
    assert "Timeout" in told["message"]
    assert time.monotonic() - start < 40
