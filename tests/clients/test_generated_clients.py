"""Clients generated from the OpenAPI document call a real service (`make clients-test`)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minirec.settings import Settings
from tests.api.conftest import KEY
from tests.api.processes import running_service
from tests.builders import write_files

HERE = Path(__file__).parent
TOOLS = Path(os.environ.get("MINIREC_CLIENTS_TEST", "."))

pytestmark = pytest.mark.skipif(
    "MINIREC_CLIENTS_TEST" not in os.environ, reason="needs generators of clients: run `make clients-test`"
)


@pytest.fixture(scope="module")
def address(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with one key."""
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(redis_url=redis_url, blob_url=(folder / "blobs").as_uri(), api_keys=(KEY,))
    with running_service(settings, folder / "log") as address:
        yield address


@pytest.fixture(scope="module")
def document(address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document as the service hands it out."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(httpx2.get(f"{address}/openapi.json").text)
    return path


def run(*command: object, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def saw_it_all(address: str, output: str) -> None:
    """Compare what a client saw with what the service has now."""
    seen: dict[str, Any] = json.loads(output)
    assert seen["status"] == "cancelled"
    assert (seen["refused"], seen["gone"]) == ("not_finished", "selection_not_found")
    with httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {KEY}"}) as http:
        assert http.get(f"/v1/selections/{seen['selection']}").status_code == 404
        assert http.get("/v1/datasets").json()["data"] == []


def test_a_generated_python_client(address: str, document: Path, tmp_path: Path) -> None:
    generate = [TOOLS / "bin" / "openapi-python-client", "generate", "--meta", "none", "--fail-on-warning"]
    config = ["--config", HERE / "openapi-python-client.yaml"]
    run(*generate, *config, "--path", document, "--output-path", tmp_path / "minirec_client", folder=tmp_path)
    files = write_files(tmp_path)
    python = TOOLS / "bin" / "python"
    saw_it_all(address, run(python, HERE / "calls.py", address, KEY, *files, folder=tmp_path, PYTHONPATH=str(tmp_path)))


def test_a_generated_typescript_client(address: str, document: Path, tmp_path: Path) -> None:
    node = TOOLS / "node"
    if not (node / "node_modules").is_dir():
        pytest.skip("needs npm")
    (tmp_path / "node_modules").symlink_to(node / "node_modules")
    for name in ("package.json", "calls.ts"):
        (tmp_path / name).write_text((HERE / name).read_text())
    programs = node / "node_modules" / ".bin"
    # What has a default need not be sent.
    options = ["--default-non-nullable", "false"]
    run(programs / "openapi-typescript", document, *options, "--output", "schema.d.ts", folder=tmp_path)
    compiler = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext"]
    run(programs / "tsc", *compiler, "--types", "node", "calls.ts", folder=tmp_path)
    saw_it_all(address, run("node", "calls.js", address, KEY, *write_files(tmp_path), folder=tmp_path))
