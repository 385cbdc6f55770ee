"""Versions: Python, what minirec needs of libraries, and the settings in the environment."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from minirec import __version__
from minirec.cli.checks.finding import Finding, ok, problem, warning
from minirec.cli.stack import NEEDED, StartError, check_settings

OLDEST_PYTHON = (3, 11)
LIBRARIES = ("torch", "transformers", "peft", "trl", "huggingface-hub", "celery", "redis", "fastapi", "vllm")
"""What is told of; every other requirement of minirec is checked, too."""


def software() -> Iterator[Finding]:
    """Look at Python, minirec and the libraries."""
    yield python()
    yield ok("minirec", __version__, version=__version__)
    yield libraries()
    yield from outdated()
    yield settings()


def python() -> Finding:
    """Look at the interpreter."""
    found = f"{platform.python_version()} in {sys.prefix} on {platform.system()} {platform.machine()}"
    facts = {"version": platform.python_version(), "prefix": sys.prefix, "platform": platform.platform()}
    if sys.version_info < OLDEST_PYTHON:
        return problem("python", found, "Install Python 3.11 or later, and minirec into it.", **facts)
    return ok("python", found, **facts)


def libraries() -> Finding:
    """Look at what is installed beyond the client."""
    versions = {name: version for name in LIBRARIES if (version := installed(name)) is not None}
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        # A machine that only talks to a service elsewhere needs none of them.
        advice = "To run service and workers here: pip install 'minirec[up]'."
        found = f"{found + '; ' if found else ''}the client alone: {', '.join(missing)} not installed"
        return warning("libraries", found, advice, versions=versions, missing=missing)
    return ok("libraries", found, versions=versions)


def installed(name: str) -> str | None:
    """Return the version of a distribution, null where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def outdated() -> Iterator[Finding]:
    """Name the libraries whose version is not one that minirec was made for."""
    try:
        from packaging.requirements import Requirement

        needed = metadata.requires("minirec") or []
    except (ImportError, metadata.PackageNotFoundError):
        return  # a checkout that is not installed says nothing of versions
    told: set[str] = set()
    for requirement in map(Requirement, needed):
        version = installed(requirement.name)
        extra = "extra ==" in str(requirement.marker or "")
        if version is None and extra or requirement.name in told:
            continue
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            told.add(requirement.name)
            found = f"{version or 'not installed'}; minirec needs {requirement.specifier}"
            yield problem(requirement.name, found, f"pip install -U '{requirement.name}{requirement.specifier}'")


def settings() -> Finding:
    """Look at the `MINIREC_*` variables. Values are not shown: some are secret."""
    names = sorted(name for name in os.environ if name.startswith("MINIREC_"))
    found = ", ".join(names) or "no MINIREC_* variables are set"
    if importlib.util.find_spec("pydantic_settings") is None:
        return ok("settings", found, variables=names)
    try:
        check_settings(os.environ)
    except StartError as error:
        return problem("settings", str(error), "Correct the variables, or unset them.", variables=names)
    return ok("settings", found, variables=names)
