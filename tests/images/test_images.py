"""The images and the compose file on a real engine: the main jobs over REST, and what a deployment lives through.

The tests are one story and run in order: each goes on with the deployment that the one before it left.
"""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minirec.client import MiniRec
from tests.images.deployment import OURS, Deployment, docker

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "rollouts": {"group_size": 2, "max_new_tokens": 8},
    "weights": {"gate": {"enabled": False}},
    "curriculum": {"group_size": 4},
}
LONG = SETTINGS | {"rollouts": {"group_size": 4, "max_new_tokens": 96}}
"""Enough work per shard that there is a middle in which something can die."""

known: dict[str, Any] = {}
"""What earlier tests of the story left for later ones."""


def test_every_process_of_ours_is_unprivileged(deployment: Deployment) -> None:
    for name in OURS:
        facts = deployment.inspect(name)
        assert deployment.shell(name, "id -u").strip() == "10001"
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        status = deployment.shell(name, "grep -E '^(CapEff|NoNewPrivs)' /proc/1/status").split()
        assert status == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"] or int(status[1], 16) == 0
        assert refuses(deployment, name, "touch /opt/minirec/x")


def test_models_are_read_only_and_scratch_is_disk(deployment: Deployment) -> None:
    for name in ("worker", "worker-cpu"):
        assert refuses(deployment, name, "touch /var/lib/minirec/models/x")
        mounted = deployment.shell(name, 'grep " $TMPDIR " /proc/mounts').split()
        assert mounted[2] != "tmpfs"
        deployment.shell(name, 'touch "$TMPDIR/x" && rm "$TMPDIR/x"')


def test_redis_and_workers_have_no_way_out(deployment: Deployment) -> None:
    for network in ("store", "hub"):
        assert docker("network", "inspect", f"{deployment.project}_{network}", "-f", "{{.Internal}}").strip() == "true"
    assert refuses(
        deployment, "worker", "timeout 5 python -c \"import socket; socket.create_connection(('1.1.1.1', 53), 3)\""
    )
    assert list(deployment.inspect("redis")["NetworkSettings"]["Networks"]) == [f"{deployment.project}_store"]


def test_no_process_list_shows_a_secret(deployment: Deployment) -> None:
    for name in (*OURS, "redis"):
        shown = docker("top", deployment.container(name), "-eo", "pid,args")
        assert deployment.variables["REDIS_PASSWORD"] not in shown
        assert deployment.key not in shown


def test_the_worker_image_has_no_cuda(deployment: Deployment) -> None:
    assert deployment.shell("worker", "python -c 'import torch; print(torch.version.cuda)'").strip() == "None"


def test_uploaded_signals_select(deployment: Deployment) -> None:
    with deployment.client() as client:
        dataset = upload(deployment, client)
        ids = [f"s{n:03d}" for n in range(96)]
        rows = [{"sample_id": sample, "reward": [(n % 7) / 7, (n % 5) / 5]} for n, sample in enumerate(ids)]
        client.datasets.upload_signals(dataset, rewards=rows)
        done = finish(client, client.selections.create(dataset=dataset, signals="uploaded", size=8))
        assert done.result.selected == 8
        known["signals"] = done.id


def test_a_model_scores_and_a_second_size_is_cached(deployment: Deployment) -> None:
    with deployment.client() as client:
        dataset = upload(deployment, client)
        first = finish(client, client.selections.create(dataset=dataset, **SETTINGS))
        second = finish(client, client.selections.create(dataset=dataset, **SETTINGS | {"size": 6}))
        assert second.counts.cached == second.counts.total
        known["dataset"], known["picks"] = dataset, client.selections.subset(first.id).ids
        known["selection"] = first.id


def test_a_training_job_writes_its_checkpoints_to_disk_and_leaves_nothing(deployment: Deployment) -> None:
    with deployment.client() as client:
        job = client.training_jobs.create(
            selection=known["selection"], args={"updates": 6, "grpo": {"batch_size": 4}}, evaluation={"every": 2}
        )
        done = client.training_jobs.wait(job.id, timeout=300)
        assert done.status == "succeeded", done.error
    for name in ("worker", "worker-cpu"):
        # Every process has a scratch folder of its own, which is there as long as the process.
        there = deployment.shell(name, 'ls -A "$TMPDIR" "$TMPDIR"/minirec-scratch-* /tmp').replace(":", "").split()
        there = [Path(file).name for file in there if not Path(file).name.startswith("minirec-scratch-")]
        assert [file for file in there if file.startswith(("minirec-", "torchelastic"))] == []


def test_a_worker_killed_in_mid_shard_costs_nothing(deployment: Deployment) -> None:
    with deployment.client() as client:
        job = client.selections.create(dataset=known["dataset"], **LONG)
        until(lambda: scoring(client, job.id) and client.selections.retrieve(job.id).counts.scored > 0)
        docker("kill", "--signal", "KILL", deployment.container("worker"))
        deployment.compose("up", "--detach", "--no-build", "--wait", "worker")
        known["long"] = client.selections.subset(finish(client, job).id).ids


def test_a_restart_of_redis_costs_nothing(deployment: Deployment) -> None:
    with deployment.client() as client:
        other = LONG | {"rollouts": LONG["rollouts"] | {"seed": 1}}
        job = client.selections.create(dataset=known["dataset"], **other)
        until(lambda: scoring(client, job.id))
        deployment.compose("restart", "redis")
        done = finish(client, job)
        assert not [event for event in client.selections.events(done.id) if event.type == "error"]
    # Everything is in the append-only file; there is no second copy beside it that a restart might read.
    assert "dump.rdb" not in deployment.shell("redis", "ls /data")


def test_down_and_up_keeps_everything(deployment: Deployment) -> None:
    deployment.compose("down", "--timeout", "20")
    deployment.compose("up", "--detach", "--no-build", "--wait")
    with deployment.client() as client:
        assert client.selections.subset(known["selection"]).ids == known["picks"]
        again = finish(client, client.selections.create(dataset=known["dataset"], **SETTINGS))
        assert again.counts.cached == again.counts.total


def test_two_workers_pick_what_one_picked(deployment: Deployment) -> None:
    deployment.compose("up", "--detach", "--no-build", "--wait", "--scale", "worker=2")
    assert len(deployment.compose("ps", "--quiet", "worker").split()) == 2
    with deployment.client() as client:
        # Nothing of it is cached: another number of tokens. Then once more with one worker, from nothing.
        settings = SETTINGS | {"rollouts": {"group_size": 2, "max_new_tokens": 9}}
        picks = client.selections.subset(
            finish(client, client.selections.create(dataset=known["dataset"], **settings)).id
        ).ids
        assert len(picks) == 12
        assert client.selections.subset(known["selection"]).ids == known["picks"]
    deployment.compose("up", "--detach", "--no-build", "--wait", "--scale", "worker=1")


def test_a_backup_restores_into_a_new_project(deployment: Deployment, tmp_path: Path) -> None:
    deployment.run_documented("Backup and restore", 0, tmp_path)
    kept = sorted((tmp_path / "backup").iterdir())
    assert [(file.name, oct(file.stat().st_mode & 0o777)) for file in kept] == [
        ("blobs.tgz", "0o600"),
        ("redis.rdb", "0o600"),
    ]
    assert "rdb" not in deployment.shell("redis", "ls /data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    restored = dataclasses.replace(
        deployment,
        project=f"{deployment.project}-restored",
        variables=deployment.variables | {"MINIREC_PORT": str(port)},
        url=f"http://127.0.0.1:{port}",
    )
    try:
        restored.run_documented("Backup and restore", 1, tmp_path)
        with restored.client() as client:
            assert client.selections.subset(known["selection"]).ids == known["picks"]
            again = finish(client, client.selections.create(dataset=known["dataset"], **SETTINGS | {"size": 5}))
            assert again.counts.cached == again.counts.total
        restored.compose("restart", "redis")
        with restored.client() as client:
            assert client.selections.subset(known["selection"]).ids == known["picks"]
        assert "dump.rdb" not in restored.shell("redis", "ls /data")
    finally:
        restored.compose("down", "--volumes", "--timeout", "5")


def upload(deployment: Deployment, client: MiniRec) -> str:
    files = deployment.files
    return client.datasets.upload(samples=files / "samples.jsonl", items=files / "items.jsonl").id


def finish(client: MiniRec, job: Any) -> Any:
    """Wait for a selection, and return it once it has succeeded."""
    done = client.selections.wait(job.id, timeout=300)
    assert done.status == "succeeded", done.error
    return done


def scoring(client: MiniRec, job_id: str) -> bool:
    return client.selections.retrieve(job_id).stage == "scoring"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within two minutes"
        time.sleep(0.2)


def refuses(deployment: Deployment, service: str, script: str) -> bool:
    """Whether a script fails in a service's container."""
    command = ["docker", "exec", deployment.container(service), "sh", "-ec", script]
    return subprocess.run(command, capture_output=True, check=False).returncode != 0
