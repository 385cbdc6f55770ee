"""What a newcomer and CI rely on before any code of ours runs."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import minirec
from minirec.cli.demo import demo

ROOT = Path(__file__).parents[3]
PACKAGES = ("api_schemas", "minirec", "service", "worker")


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the Makefile where nothing is installed yet."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_the_licence_and_the_works_of_others_are_named() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    notice = (ROOT / "NOTICE").read_text()
    assert [name for name in ("GroupLens", "Valkey", "SmolLM2", "arXiv 2602.04278") if name not in notice] == []


def test_ci_runs_what_a_developer_runs(tmp_path: Path) -> None:
    executable(tmp_path / "make", 'echo "$@ in $(pwd)"; read -r line || echo "no terminal"')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CI": "true"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"test in {ROOT}", "no terminal"]


def test_every_module_reaches_an_installation() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_make_alone_says_what_can_be_made(tmp_path: Path) -> None:
    listed = make(tmp_path).stdout
    targets = ("demo", "test", "check", "images-test", "lint", "bench", "quality", "clean", "help")
    assert [name for name in targets if f"make {name} " not in listed] == []


def test_a_machine_without_a_fitting_python_is_told_so(tmp_path: Path) -> None:
    old = executable(tmp_path / "python3.9", "exit 1")
    done = make(tmp_path, f"PYTHON={old} /no/such/python", "demo")
    assert done.returncode != 0
    assert "MiniRec needs Python 3.11 to 3.14" in done.stderr


def test_a_debian_without_venv_is_told_what_to_install(tmp_path: Path) -> None:
    bare = executable(tmp_path / "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = make(tmp_path, f"PYTHON={bare}", "demo")
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr


@pytest.mark.parametrize("name", ["POOL", "SIZE", "TRAIN"])
def test_the_demo_is_told_what_make_was_told(tmp_path: Path, name: str) -> None:
    assert name.lower() in inspect.signature(demo).parameters
    done = make(tmp_path, "--dry-run", "demo", f"{name}=7")
    assert f"minirec demo --{name.lower()} 7" in " ".join(done.stdout.split())


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == minirec.__version__
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == minirec.__version__


def test_ci_elsewhere_runs_what_a_developer_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]["test"]
    assert [step["run"].split() for step in workflow["steps"] if "run" in step] == [["make", "test", "PYTHON=python"]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    claimed = [line.rsplit(" ", 1)[1] for line in project["classifiers"] if line.startswith("Programming Language")]
    assert workflow["strategy"]["matrix"]["python"] == claimed
