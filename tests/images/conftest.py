"""The real images in the real compose file, on whatever container engine the environment names."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import tiny_model, with_splits, write_files
from tests.images.deployment import ROOT, Deployment


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine; tests that need one are skipped without it."""
    if not os.environ.get("MINIREC_IMAGES_TEST"):
        pytest.skip("builds images: `make images-test` runs this")
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command on this machine")
    asked = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        pytest.skip(f"no container engine answers: {asked.stderr.strip()}")


@pytest.fixture(scope="session")
def images(engine: None) -> None:
    """The images `minirec-api` and `minirec-worker`, built from this checkout.

    BASE and TORCH_INDEX are passed on as build arguments, and DOCKER_BUILD_FLAGS as they are (`--network host`, say).
    """
    flags = os.environ.get("DOCKER_BUILD_FLAGS", "").split()
    for name in ("BASE", "PYTHON", "TORCH_INDEX"):
        if value := os.environ.get(name):
            flags += ["--build-arg", f"{name}={value}"]
    for target in ("api", "worker"):
        command = ["docker", "build", *flags, "--target", target, "--tag", f"minirec-{target}", str(ROOT)]
        subprocess.run(command, check=True, stdout=sys.stderr)


@pytest.fixture(scope="session")
def deployment(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The stack of docker-compose.yml under a project name of its own, healthy, with the local model `tiny`."""
    folder = tmp_path_factory.mktemp("deployment")
    tiny_model(folder / "models")
    # Where the engine runs, which need not be where the tests run.
    models = f"/var/tmp/minirec-images-{secrets.token_hex(4)}"
    on_the_engine(models, "tar -C /models -xf - && chmod -R a+rX /models", pack(folder / "models"))
    files = folder / "files"
    files.mkdir()
    samples, _ = write_files(files, samples=96)
    with_splits(samples)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = secrets.token_urlsafe(16)
    variables = {
        "REDIS_PASSWORD": secrets.token_hex(16),
        "MINIREC_API_KEYS": key,
        "MINIREC_PORT": str(port),
        "MODELS_DIR": models,
        "MINIREC_TORCH_THREADS": "1",
        "HF_HUB_OFFLINE": "true",
    }
    found = Deployment(f"minirec-test-{secrets.token_hex(3)}", variables, key, f"http://127.0.0.1:{port}", files)
    try:
        found.compose("up", "--detach", "--no-build", "--wait")
        yield found
    finally:
        if os.environ.get("MINIREC_IMAGES_KEEP") != "1":
            found.compose("down", "--volumes", "--timeout", "5")
            on_the_engine(models, "rm -rf /models/*")


def pack(folder: Path) -> bytes:
    """Return a folder's content as an uncompressed tar file, with the owners and modes that it has here."""
    done = subprocess.run(["tar", "-C", str(folder), "-cf", "-", "."], capture_output=True, check=True)
    return done.stdout


def on_the_engine(folder: str, script: str, stdin: bytes = b"") -> None:
    """Run a script as root on a folder of the engine's machine, mounted at /models."""
    run = ["docker", "run", "--rm", "--interactive", "--user", "0", "--volume", f"{folder}:/models", "minirec-api"]
    subprocess.run([*run, "sh", "-ec", script], input=stdin, check=True)
