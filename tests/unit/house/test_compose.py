"""docker-compose.yml and the Dockerfile: valid, closed, and running the same commands as `minirec up`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from minirec.cli import processes
from minirec.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "docker-compose.yml"
PROGRAMS = Path(sys.executable).parent
SECRETS = {"REDIS_PASSWORD": "0123abcd", "MINIREC_API_KEYS": "key"}

OURS = ("api", "janitor", "worker-cpu", "worker", "worker-gpu")
ALL = ("redis", *OURS)


def compose(file: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Compose itself, which checks the file against the specification's schema; no engine is needed for that."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | variables
    where = ["--project-directory", str(file.parent), "--file", str(file)]
    command = [str(PROGRAMS / "docker-compose"), *where, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@cache
def configuration(**variables: str) -> Any:
    """The file as Compose understands it, all profiles, variables filled in."""
    done = compose(COMPOSE, "--profile", "*", "config", "--format", "json", **(SECRETS | variables))
    assert done.returncode == 0, done.stderr
    # Compose writes `$` as `$$`, so that its output is a valid input.
    return json.loads(done.stdout.replace("$$", "$"))


def service(name: str) -> Any:
    return configuration()["services"][name]


def test_the_file_is_valid() -> None:
    done = compose(COMPOSE, "config", "--quiet", **SECRETS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("healthcheck:", "healthchek:"),
        ("stop_grace_period: 45s", "stop_grace_period: soon"),
        ("networks: [store, edge]", "networks: [store, nowhere]"),
    ],
)
def test_a_mistake_in_the_file_would_be_found(tmp_path: Path, before: str, after: str) -> None:
    text = COMPOSE.read_text()
    assert before in text
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace(before, after))
    assert compose(broken, "--profile", "*", "config", "--quiet", **SECRETS).returncode != 0


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_has_a_default(secret: str) -> None:
    others = {name: value for name, value in SECRETS.items() if name != secret}
    done = compose(COMPOSE, "config", "--quiet", **others)
    assert done.returncode != 0
    assert f"put {secret}=" in done.stderr


def test_the_services_are_the_promised_ones() -> None:
    assert set(configuration()["services"]) == set(ALL)
    assert [name for name in ALL if service(name).get("profiles")] == ["worker-gpu"]


@pytest.mark.parametrize("name", OURS)
def test_the_commands_are_those_of_minirec_up(name: str) -> None:
    commands = processes.commands("0.0.0.0", 8000)
    # The same process, on another device.
    expected = commands | {"worker-gpu": commands["worker"]}
    assert set(expected) == set(OURS)
    assert tuple(service(name)["command"]) == expected[name]


@pytest.mark.parametrize("name", ALL)
def test_every_service_has_a_health_check_and_time_to_stop(name: str) -> None:
    assert service(name)["healthcheck"]["test"]
    assert service(name)["stop_grace_period"]


@pytest.mark.parametrize("name", ALL)
def test_every_service_is_unprivileged(name: str) -> None:
    found = service(name)
    assert int(found["user"].split(":")[0]) > 0
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not found.get("privileged")


def test_only_the_service_is_published_and_to_this_machine_only() -> None:
    assert [name for name in ALL if service(name).get("ports")] == ["api"]
    assert {port["host_ip"] for port in service("api")["ports"]} == {"127.0.0.1"}


def test_redis_cannot_be_reached_from_outside_and_keeps_what_it_is_told() -> None:
    assert set(service("redis")["networks"]) == {"store"}
    assert configuration()["networks"]["store"]["internal"] is True
    script = service("redis")["command"][-1]
    assert " ".join(processes.DURABLE_REDIS) in script
    assert "--maxmemory " in script
    assert [volume["target"] for volume in service("redis")["volumes"]] == ["/data"]


def test_the_redis_password_is_asked_for_and_shown_in_no_command() -> None:
    assert "requirepass $REDIS_PASSWORD" in service("redis")["command"][-1]
    for name in ALL:
        assert SECRETS["REDIS_PASSWORD"] not in " ".join(service(name)["command"])
    for name in OURS:
        assert f":{SECRETS['REDIS_PASSWORD']}@redis:" in service(name)["environment"]["MINIREC_REDIS_URL"]


def test_workers_reach_the_hub_only_when_told() -> None:
    for offline, internal in (("true", True), ("false", None)):
        found = configuration(HF_HUB_OFFLINE=offline)
        assert found["networks"]["hub"].get("internal") is internal
        for name in ("worker-cpu", "worker", "worker-gpu"):
            assert found["services"][name]["environment"]["HF_HUB_OFFLINE"] == offline
            assert set(found["services"][name]["networks"]) == {"store", "hub"}


def test_workers_cannot_write_into_the_models_folder() -> None:
    for name in ("worker-cpu", "worker", "worker-gpu"):
        mounts = {volume["target"]: volume for volume in service(name)["volumes"]}
        environment = service(name)["environment"]
        assert mounts[environment["MINIREC_MODELS_DIR"]]["read_only"] is True
        assert not mounts[environment["HF_HOME"]].get("read_only")


def test_all_share_one_place_for_blobs() -> None:
    for name in OURS:
        mounts = {volume["target"]: volume["source"] for volume in service(name)["volumes"]}
        folder = service(name)["environment"]["MINIREC_BLOB_URL"].removeprefix("file://")
        assert mounts[folder] == "blobs"


def test_uploads_go_to_disk_where_the_janitor_finds_what_is_left_of_them() -> None:
    for name in ("api", "janitor"):
        mounts = {volume["target"]: volume["source"] for volume in service(name)["volumes"]}
        assert mounts[service(name)["environment"]["TMPDIR"]] == "spool"


def test_only_the_gpu_worker_asks_for_a_gpu() -> None:
    wanted = {name: service(name).get("deploy", {}).get("resources", {}).get("reservations") for name in ALL}
    assert [name for name, reservations in wanted.items() if reservations] == ["worker-gpu"]
    assert wanted["worker-gpu"]["devices"][0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize("processes", [None, 4])
def test_the_gpu_worker_gets_a_gpu_for_each_process_that_trains(processes: int | None) -> None:
    variables = {"MINIREC_TRAIN_PROCESSES": str(processes)} if processes else {}
    worker = configuration(**variables)["services"]["worker-gpu"]
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["count"] == (processes or 1)
    assert worker["environment"]["MINIREC_TRAIN_PROCESSES"] == str(processes or 1)


def test_the_example_of_a_second_gpu_is_valid(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(services:.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    assert example
    override = tmp_path / "docker-compose.override.yml"
    override.write_text(example[1])
    (tmp_path / "docker-compose.yml").write_text(COMPOSE.read_text())
    done = compose(COMPOSE, "--file", str(override), "--profile", "*", "config", "--format", "json", **SECRETS)
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)["services"]["worker-gpu-1"]
    assert second["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["1"], "capabilities": ["gpu"]}
    ]
    assert second["profiles"] == ["gpu"]


@cache
def stages() -> dict[str, str]:
    """The Dockerfile's stages by name."""
    parts = re.split(r"^FROM (?:\S+) AS (\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_dockerfile_has_no_lint() -> None:
    done = subprocess.run([PROGRAMS / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_builds_images_that_exist() -> None:
    assert {service(name)["build"]["target"] for name in OURS} <= set(stages())
    assert {service(name)["build"]["target"] for name in ("api", "janitor")} == {"api"}
    for name in OURS:
        assert service(name)["image"] == f"minirec-{service(name)['build']['target']}"


@pytest.mark.parametrize(("image", "name"), [("api", "api"), ("worker", "worker"), ("worker-gpu", "worker-gpu")])
def test_an_image_runs_by_itself_as_it_does_in_compose(image: str, name: str) -> None:
    command = re.search(r"^CMD (\[.*\])$", stages()[image], re.MULTILINE)
    assert command
    assert json.loads(command[1]) == service(name)["command"]
    assert "HEALTHCHECK" in stages()[image]


def test_images_run_as_the_user_that_compose_names() -> None:
    assert f"USER {service('api')['user']}" in stages()["base"]


def test_what_the_build_needs_reaches_it_and_nothing_else_does() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    for package in ("api_schemas", "minirec", "service", "worker"):
        assert package in kept
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"} <= set(kept)


def test_the_file_uses_no_image_without_a_version() -> None:
    for found in yaml.safe_load(COMPOSE.read_text())["services"].values():
        if "build" not in found and "image" in found:
            assert re.search(r":\d", found["image"])


@pytest.mark.parametrize("name", OURS)
def test_what_compose_passes_when_nothing_is_set_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in service(name)["environment"].items():
        monkeypatch.setenv(variable, value or "")
    assert Settings().retention_days is None
    assert Settings().dtype is None


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings()
    for field in Settings.model_fields:
        monkeypatch.setenv(f"MINIREC_{field.upper()}", "")
    assert Settings() == given
