"""What `deploy/` gives to operators: valid, closed, and running the same commands as `minirec up`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from minirec.cli import processes
from minirec.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/kubernetes"
UNIT = ROOT / "deploy/systemd/minirec-worker@.service"
OURS = {"minirec-api": "api", "minirec-janitor": "janitor", "minirec-worker-cpu": "worker-cpu"}
OURS |= {"minirec-worker-gpu": "worker"}
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for file in sorted(FOLDER.glob("*.yaml"))
    if file.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(file.read_text())
]
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in MANIFESTS if one["kind"] == "Deployment"}
OLDEST, NEWEST = "1.29", "1.34"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_what_kubernetes_takes(version: str) -> None:
    for manifest in MANIFESTS:
        if manifest["kind"] != "ScaledObject":  # KEDA's own.
            kubernetes_validate.validate(manifest, version, strict=True)


def test_every_manifest_but_the_secret_is_applied() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    there = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(listed["resources"]) == there
    assert {image["name"] for image in listed["images"]} == {pod["containers"][0]["image"] for pod in PODS.values()}


def test_the_commands_are_those_of_minirec_up() -> None:
    commands = processes.commands("0.0.0.0", 8000)
    assert {name: tuple(pod["containers"][0]["command"]) for name, pod in PODS.items()} == {
        name: commands[process] for name, process in OURS.items()
    }


def test_pods_have_no_rights_that_they_do_not_need() -> None:
    for pod in PODS.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "livenessProbe" in container
        assert {"requests", "limits"} <= set(container["resources"])
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_autoscaled_deployments_exist() -> None:
    scaled = [manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "ScaledObject"]
    assert {one["scaleTargetRef"]["name"] for one in scaled} == {"minirec-worker-cpu", "minirec-worker-gpu"}


def test_every_variable_is_a_setting() -> None:
    text = "".join(file.read_text() for file in (*FOLDER.glob("*"), *UNIT.parent.glob("*")))
    named = set(re.findall(r"MINIREC_([A-Z_]+)", text))
    assert named <= {name.upper() for name in Settings.model_fields}
    assert {"REDIS_URL", "BLOB_URL", "MODELS_DIR"} <= named


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    (command,) = re.findall(r"^ExecStart=/opt/minirec/bin/(.*)$", UNIT.read_text(), re.MULTILINE)
    ours = " ".join(processes.commands("h", 1)["worker"])
    assert command.replace("${QUEUES}", "gpu,train").replace("%i@%H", "gpu@%h") == ours
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the rest needs systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/minirec/bin", str(Path(sys.executable).parent)))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.stem[:14] in line]) == (0, [])
