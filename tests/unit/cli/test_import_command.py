"""`minirec import`: what it prints, what it uploads, what it refuses."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.unit.cli.test_commands import run
from tests.unit.client.test_client_resources import DATASET

LOG = "kunde,artikel,stars\nk1,a1,5\nk1,a2,1\nk1,a3,4\n"
COLUMNS = ["--column", "user=kunde", "--column", "item=artikel"]


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "log.csv").write_text(LOG)
    return str(tmp_path / "log.csv")


def test_it_says_what_was_read_left_out_and_written_and_what_comes_next(
    monkeypatch: pytest.MonkeyPatch, log: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done, _ = run(monkeypatch, ["import", log, "-o", str(out), *COLUMNS, "--min-rating", "3", "--split", "none"])
    assert done.exit_code == 0, done.output
    for words in (
        "interactions: interactions in log.csv: user in 'kunde', item in 'artikel', rating in 'stars'",
        "Read: 3 interactions, 1 users",
        "1 left out: interaction rated below 3",
        "There are no titles",
        "Written: 1 samples, 2 items",
        f"minirec datasets upload --samples {out}/samples.jsonl.gz --items {out}/items.jsonl.gz",
    ):
        assert words in done.stderr
    assert json.loads(gzip.decompress((out / "samples.jsonl.gz").read_bytes()))["history"] == ["a1"]


def test_the_account_is_json_for_scripts(monkeypatch: pytest.MonkeyPatch, log: str, tmp_path: Path) -> None:
    done, _ = run(monkeypatch, ["import", log, "-o", str(tmp_path / "out"), *COLUMNS, "--json"])
    assert json.loads(done.stdout)["written"] == {"samples": 2, "items": 3}


def test_the_result_is_uploaded_under_the_sources_name(monkeypatch: pytest.MonkeyPatch, log: str) -> None:
    done, service = run(
        monkeypatch, ["import", log, "--upload", *COLUMNS, "--json"], httpx2.Response(201, json=DATASET)
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["id"] == "ds_1"
    body = service.requests[0].content
    assert b'name="name"\r\n\r\nlog\r\n' in body
    assert b'name="samples"; filename="samples.jsonl.gz"' in body


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --output for a folder, --upload for a dataset, or both"),
        (["-o", "OUT", "--column", "kunde"], "is not KEY=VALUE"),
        (["-o", "OUT", "--column", "buyer=kunde"], "'buyer' is nothing that a column can hold here"),
        (["-o", "OUT"], "log.csv: csv, columns kunde, artikel, stars"),
        (["-o", "OUT", "--format", "csv"], "there is no format 'csv'"),
        (["-o", "OUT", *COLUMNS, "--split", "random"], "'random' is not one of"),
    ],
)
def test_what_cannot_be_done_is_said(
    monkeypatch: pytest.MonkeyPatch, log: str, tmp_path: Path, arguments: list[str], words: str
) -> None:
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    done, service = run(monkeypatch, ["import", log, *arguments])
    assert done.exit_code != 0
    assert words in " ".join(done.output.replace("│", " ").split())
    assert service.requests == []


def test_the_help_names_every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = run(monkeypatch, ["import", "--help"])
    for word in ("RecBole", "MovieLens", "Amazon", "MiniOneRec", "R2ec", "LC-Rec", "verl", "TRL", "--min-rating"):
        assert word in done.stdout


def test_the_command_starts_without_the_libraries_of_the_importers() -> None:
    code = "import sys, minirec.cli.main; print({'numpy', 'pyarrow', 'orjson'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
