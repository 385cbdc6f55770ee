"""Commands see no running service and nothing of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from minirec.cli import output


@pytest.fixture(autouse=True)
def _no_stack_and_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_DATA_DIR", str(tmp_path / "no-stack"))
    # Consoles that exist have read COLUMNS already, of whatever shell the tests run in.
    for console in (output.notes, output.results):
        monkeypatch.setattr(console, "width", 200)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("MINIREC_BASE_URL", "MINIREC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "cds.jsonl").write_text('{"id": "s1", "history": ["a"], "target": "b"}\n')
    (tmp_path / "items.jsonl").write_text('{"item_id": "a", "title": "A"}\n')
    return ["--samples", str(tmp_path / "cds.jsonl"), "--items", str(tmp_path / "items.jsonl")]
