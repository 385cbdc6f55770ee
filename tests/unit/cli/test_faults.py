"""No traceback reaches the user of a command: expected errors are words, others are in a log. Keys are never shown."""

from __future__ import annotations

import errno
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minirec.api_schemas import Problem
from minirec.cli import faults
from minirec.cli.connection import Connection
from minirec.cli.data_folder import DataFolder
from minirec.cli.faults import report
from minirec.cli.main import app
from minirec.client import AuthenticationError
from tests.unit.client.test_client_resources import DATASET

KEY = "a-secret-key"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "no-stack" / "logs" / "commands.log"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def client(connection: Connection) -> None:
        raise error

    monkeypatch.setattr(Connection, "client", client)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("counts"), "unexpected KeyError ('counts')"),
        (ValueError("first line\nsecond line"), "unexpected ValueError (first line)"),
        (RecursionError(), "unexpected RecursionError (no further words)"),
        (RuntimeError("x" * 10_000), "unexpected RuntimeError (xxx"),
    ],
)
def test_an_unexpected_error_is_one_line_and_a_log(
    monkeypatch: pytest.MonkeyPatch, log: Path, error: Exception, words: str
) -> None:
    failing(monkeypatch, error)
    done = CliRunner().invoke(app, ["list"])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 600
    assert f"Error: {words}" in done.stderr
    assert f"The whole error is in {log}" in done.stderr
    assert "Traceback (most recent call last)" in log.read_text()
    assert type(error).__name__ in log.read_text()
    assert log.stat().st_mode & 0o077 == 0, "others may not read it"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "Error: Permission denied: '/data/x'"),
        (UnicodeEncodeError("utf-8", "bad\udcff", 3, 4, "surrogates not allowed"), "is not valid UTF-8"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)"), "encoding, ascii, cannot show"),
    ],
)
def test_an_expected_error_leaves_no_log(
    monkeypatch: pytest.MonkeyPatch, log: Path, error: Exception, words: str
) -> None:
    failing(monkeypatch, error)
    done = CliRunner().invoke(app, ["list"])
    assert done.exit_code == 1
    assert words in done.stderr
    assert "Errno" not in done.stderr
    assert not log.exists()


@pytest.mark.parametrize("arguments", [["--api-key", KEY], [f"--api-key={KEY}"], ["--api-key", f" {KEY}\n"], []])
def test_a_key_is_shown_neither_on_the_screen_nor_in_the_log(
    monkeypatch: pytest.MonkeyPatch, log: Path, arguments: list[str]
) -> None:
    if not arguments:
        monkeypatch.setenv("MINIREC_API_KEY", KEY)
    failing(monkeypatch, ValueError(f"Illegal header value b'Bearer {KEY}'"))
    done = CliRunner().invoke(app, [*arguments, "list"])
    assert KEY not in done.output + log.read_text()
    assert "Bearer [key]" in done.stderr


def test_a_log_that_cannot_be_written_goes_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIREC_DATA_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    failing(monkeypatch, KeyError("x"))
    done = CliRunner().invoke(app, ["list"])
    found = list(tmp_path.glob("minirec-*.log"))
    assert len(found) == 1
    assert str(found[0]) in done.stderr.replace("\n", "")


def test_an_error_of_a_thread_is_reported_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    faults.report_threads()
    thread = threading.Thread(target=lambda: dict[str, str]()["x"])
    thread.start()
    thread.join()
    assert "Traceback" not in capsys.readouterr().err
    assert "KeyError" in log.read_text()


class Datasets(http.server.BaseHTTPRequestHandler):
    """Takes every upload, and answers with a dataset that has a warning."""

    bodies: list[bytes] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(DATASET | {"warnings": ["3 [histories] end after their target"]}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Datasets)
    Datasets.bodies = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def command(*arguments: str | bytes | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a user does."""
    whole = [sys.executable, "-m", "minirec.cli.main", *arguments]
    return subprocess.run(whole, capture_output=True, env=os.environ | environment, check=False, timeout=60)


@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_files_whose_names_are_not_utf_8_are_uploaded(tmp_path: Path, url: str, environment: dict[str, str]) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"pr\xfcfung.jsonl")
    with open(path, "w") as file:
        file.write('{"id": "p1", "prompt": "x"}\n')
    done = command("--base-url", url, "datasets", "upload", "--prompts", path, "--json", **environment)
    assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0), done.stderr
    assert 'filename="pr�fung.jsonl"'.encode() in Datasets.bodies[0]
    assert b"Warning: 3 [histories] end after their target" in done.stderr
    assert json.loads(done.stdout)["id"] == "ds_1"


def test_a_missing_file_whose_name_is_not_utf_8_is_named(tmp_path: Path, url: str) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff.jsonl")
    done = command("--base-url", url, "datasets", "upload", "--prompts", path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"does not exist" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base-url", "localhost:1", "list"], b"does not start with http:// or https://"),
        (["--base-url", "http://127.0.0.1:1/v1", "list"], b"adds /v1 itself"),
        (["--api-key", "s\u00e9cr\u00e8te", "list"], b"not an ASCII character"),
        (["--base-url", "http://h", "list"], b"pip install 'httpx2[socks]'"),
        (["up", "--port", "70000"], b"'--port': should be less than or equal to 65535"),
        (["up", "--port", "x"], b"'--port': should be a valid integer "),
        (["select", "--dataset", "ds_1", "--model", "m", "--size", "9" * 5000], b"is not a number of samples"),
        (["select", "--dataset", "ds_1", "--model", "m", "--size", "8", "--set", "pool.x=NaN"], b"NaN is not a number"),
        (["select", "--dataset", "ds_1", "--model", "m", "--size", "8", "--reward", "r=inf"], b"is no weight"),
        (
            ["select", "--dataset", "ds_1", "--model", "m", "--size", "8", "--set", "pool.a=1", "--set", "pool.a.b=1"],
            b"was given as a value",
        ),
        (["list", "--status", "nope"], b"'--status': 'nope' is not one of 'queued'"),
        (
            ["--base-url", "http://127.0.0.1:1", "status", "sel_\x01\n/?#"],
            rb"'/v1/selections/sel_\x01\n/?#' is no path of the service, and nothing was sent",
        ),
    ],
)
def test_bad_input_is_answered_in_words(arguments: list[str], words: bytes) -> None:
    done = command(*arguments, ALL_PROXY="socks5://127.0.0.1:9", COLUMNS="1000", MINIREC_BASE_URL="http://127.0.0.1:1")
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    assert words in done.stderr, done.stderr.decode()
    assert "s\u00e9cr\u00e8te".encode() not in done.stderr


def test_a_refused_key_says_where_keys_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(title="Unauthorized", status=401, detail="this service wants a key", code="unauthorized")
    report(AuthenticationError(problem), ["list"])
    printed = " ".join(capsys.readouterr().err.split())
    assert "this service wants a key" in printed
    for way in ("--api-key", "MINIREC_API_KEY", "MINIREC_DATA_DIR"):
        assert way in printed


def test_the_stack_s_own_key_is_shown_in_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIREC_DATA_DIR", str(tmp_path))
    key = DataFolder(tmp_path).own_key()
    report(RuntimeError(f"sent {key} to it"), ["list"])
    assert key not in capsys.readouterr().err
    assert key not in (tmp_path / "logs" / "commands.log").read_text()
