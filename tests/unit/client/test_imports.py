"""What importing the client brings along."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import minirec

HEAVY = ("torch", "numpy", "pandas", "polars", "celery", "redis", "pyarrow", "fastapi", "transformers", "datasets")
UNUSED = ("rich", "typer", "pydantic_settings", "minirec.cli", "minirec.selection", "minirec.store", "minirec.data")


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter; returns the names of all modules that it loaded."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("code", ["from minirec import MiniRec, AsyncMiniRec", "import minirec.client"])
def test_the_client_is_light(code: str) -> None:
    loaded = loaded_by(code)
    assert "minirec.client" in loaded
    assert not loaded & {*HEAVY, *UNUSED}


def test_the_package_alone_imports_nothing_else() -> None:
    loaded = loaded_by("import minirec")
    assert not {name for name in loaded if name.startswith(("minirec.", "api_schemas", "httpx2"))}
    assert "pydantic" not in loaded


def test_validators_are_not_built_before_they_are_used() -> None:
    code = "from api_schemas import Selection, SelectionCreate\n"
    code += "assert not Selection.__pydantic_complete__ and not SelectionCreate.__pydantic_complete__"
    loaded_by(f"from minirec import MiniRec\n{code}")


def test_both_clients_are_names_of_the_package() -> None:
    from minirec import AsyncMiniRec, MiniRec
    from minirec.client import MiniRec as Same

    assert MiniRec is Same
    assert {AsyncMiniRec.__name__, "MiniRec"} <= set(dir(minirec))
    with pytest.raises(AttributeError, match="no attribute 'MiniRek'"):
        minirec.MiniRek  # type: ignore[attr-defined]  # noqa: B018
