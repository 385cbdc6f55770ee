"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and explains every code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minirec.api_schemas.problem_codes import JOB_CODES, REQUEST_CODES
from minirec.service.app import create_app
from minirec.settings import Settings
from scripts.docs_pages import attribute_docstrings
from scripts.docs_site import formula

ROOT = Path(__file__).parents[3]
RAISED_WITH = {"ProblemError": 1, "invalid": 0, "UnitError": 0, "ModelRefused": 0, "sample_error": 0}
"""Where the code is among the arguments."""
COMPUTED = {f"{kind}_not_found" for kind in ("selection", "training_job", "evaluation")} | {"not_found", "http_error"}
"""Codes that are made of a name, or belong to a status."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "MINIREC_DOCS_REPOSITORY": "https://git.example/minirec"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="([^"]+)"', text)
        assert [address for address in loaded if address.startswith(("http", "//"))] == [], page


@pytest.mark.slow
def test_the_references_have_everything(site: Path) -> None:
    rest, python = (site / "reference" / "rest.html").read_text(), (site / "reference" / "python.html").read_text()
    document = create_app(Settings()).openapi()
    for path, operations in document["paths"].items():
        assert [method for method in operations if f"{method.upper()} {path}" not in rest] == []
    assert [name for name in document["components"]["schemas"] if f'id="{name.lower()}"' not in rest] == []
    for name in ("upload_signals", "explain", "download_subset", "with_options", "select_matching"):
        assert name in python
    assert "UnprocessableError" in (site / "reference" / "exceptions.html").read_text()
    settings = (site / "reference" / "settings.html").read_text()
    assert [name for name in Settings.model_fields if f"MINIREC_{name.upper()}" not in settings] == []
    codes = (site / "reference" / "codes.html").read_text()
    assert [code for code in REQUEST_CODES | JOB_CODES if f"<code>{code}</code>" not in codes] == []


@pytest.mark.slow
def test_links_out_of_the_docs_lead_to_the_repository(site: Path) -> None:
    method = (site / "architecture.html").read_text()
    assert 'href="https://git.example/minirec/tree/main/minirec/selection"' in method
    assert "<math" in (site / "method.html").read_text()


def test_every_setting_is_explained() -> None:
    assert set(attribute_docstrings(Settings)) >= set(Settings.model_fields)


def test_a_formula_becomes_mathml() -> None:
    assert formula(r"\(\bar r_i &lt; 1\)", display=False).startswith("<math")


def raised_codes() -> set[str]:
    """Every code that stands in the source where errors are made."""
    found = set()
    for path in (path for package in ("service", "worker", "minirec") for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            values: list[ast.expr | None] = []
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                place = RAISED_WITH.get(name)
                values += node.args[place : place + 1] if place is not None else []
                values += [word.value for word in node.keywords if word.arg == "code"]
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                values += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code"]
            for value in values:
                parts = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
                words = [part.value for part in parts if isinstance(part, ast.Constant)]
                found |= {word for word in words if isinstance(word, str)}
    return found


def test_every_code_that_is_raised_is_explained() -> None:
    raised = raised_codes()
    assert len(raised) > 60
    assert raised - {*REQUEST_CODES, *JOB_CODES} == set()


def test_no_code_is_explained_that_nothing_raises() -> None:
    source = "".join(
        path.read_text()
        for package in ("service", "worker", "minirec")
        for path in (ROOT / package).rglob("*.[pl][yu]*")
        if path.suffix in (".py", ".lua")
    )
    assert {code for code in {*REQUEST_CODES, *JOB_CODES} - COMPUTED if code not in source} == set()
