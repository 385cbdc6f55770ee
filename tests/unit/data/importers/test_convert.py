"""Where sources come from, where results go, and what is refused."""

from __future__ import annotations

import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minirec.data.importers import IMPORTERS, SourceError, convert
from minirec.data.importers.fetch import download, unpack
from minirec.data.ingest import ingest
from tests.unit.data.importers.conftest import Put, Run

LOG = "user_id,item_id\n1,10\n1,11\n"


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_the_report_lies_beside_the_files_and_the_upload_takes_them(put: Put, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = convert(put({"log.csv": LOG}) / "log.csv", out)
    report = json.loads((out / "import.json").read_text())
    assert report["format"] == "interactions"
    assert report["written"] == {"samples": 1, "items": 2}
    assert report["files"] == {"samples": "samples.jsonl.gz", "items": "items.jsonl.gz"}
    assert {path.name for path in out.iterdir()} == {"samples.jsonl.gz", "items.jsonl.gz", "import.json"}
    assert ingest(made.files["samples"], made.files["items"], tmp_path / "checked").n_samples == 1


def test_the_same_source_gives_the_same_bytes(put: Put, tmp_path: Path) -> None:
    source = put({"log.csv": LOG})
    files = [convert(source, tmp_path / name).files["samples"].read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_a_folder_with_something_in_it_is_not_touched_unless_told(put: Put, tmp_path: Path) -> None:
    source, out = put({"log.csv": LOG}), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(SourceError, match="is not empty"):
        convert(source, out)
    convert(source, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_source_that_is_refused_leaves_nothing(put: Put, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        convert(put({"log.csv": "user_id,item_id\n1,10\n"}), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("missing", ["nowhere.csv", "ftp://host/file.csv", "file:///etc/passwd"])
def test_what_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(SourceError, match=missing):
        convert(missing, tmp_path / "out")


def test_a_format_that_does_not_exist_lists_those_that_do(put: Put, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no format 'recbol'; the formats are recbole, movielens"):
        convert(put({"log.csv": LOG}), tmp_path / "out", format="recbol")


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_every_format_refuses_a_source_of_another_kind_in_words(put: Put, tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError):
        convert(put({"picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"}), tmp_path / "out", format=name)


def test_archives_are_unpacked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log.zip").write_bytes(zipped(**{"data/log.csv": LOG, "__MACOSX/data/log.csv": "x"}))
    assert run(tmp_path / "log.zip").path("1-1") == (["10"], "11")
    with tarfile.open(tmp_path / "log.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("data/log.csv")
        info.size = len(LOG)
        archive.addfile(info, io.BytesIO(LOG.encode()))
        link = tarfile.TarInfo("data/items.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert run(tmp_path / "log.tar.gz").path("1-1") == (["10"], "11")


def test_archives_that_write_elsewhere_or_unpack_to_everything_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.zip").write_bytes(zipped(**{"../../bad.csv": LOG}))
    with pytest.raises(SourceError, match="outside"):
        convert(tmp_path / "bad.zip", tmp_path / "out")
    monkeypatch.setattr("minirec.data.importers.fetch.MAX_UNPACKED", 10)
    (tmp_path / "big.zip").write_bytes(zipped(**{"log.csv": LOG}))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    with pytest.raises(SourceError, match="more than an import unpacks"):
        unpack(tmp_path / "big.zip", folder)


def test_damaged_gzip_is_said(tmp_path: Path) -> None:
    (tmp_path / "log.csv.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03garbage")
    with pytest.raises(SourceError, match="damaged"):
        convert(tmp_path / "log.csv.gz", tmp_path / "out")


class Files(http.server.BaseHTTPRequestHandler):
    """Serves a log, a page, and an error."""

    def do_GET(self) -> None:
        status, kind, body = {
            "/data/log.csv": (200, "text/csv", LOG.encode()),
            "/page": (200, "text/html; charset=utf-8", b"<html>"),
        }.get(self.path.split("?")[0], (404, "text/plain", b"gone"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_an_address_is_downloaded(run: Run, server: str) -> None:
    found = run(f"{server}/data/log.csv?download=true")
    assert found.path("1-1") == (["10"], "11")
    assert "log.csv" in found.imported.recognised


def test_what_an_address_does_not_give_is_said(server: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="answered 404"):
        convert(f"{server}/gone.csv", tmp_path / "out")
    with pytest.raises(SourceError, match="a web page"):
        convert(f"{server}/page", tmp_path / "out")
    with pytest.raises(SourceError, match="larger than 5 bytes"):
        download(f"{server}/data/log.csv", tmp_path, limit=5)


def rows(*found: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)


def test_rows_with_the_id_of_another_keep_their_place_and_repeated_ones_go(run: Run, put: Put) -> None:
    first = {"id": "q", "prompt": "1 + 1?", "answer": "2"}
    found = run(put({"a.jsonl": rows(first, {**first, "prompt": "2 + 2?"}, first)}))
    assert [(row["id"], row["prompt"]) for row in found.prompts] == [("q", "1 + 1?"), ("q-2", "2 + 2?")]
    assert found.imported.dropped == {"row that came before": 1}
    assert found.imported.notes == ["1 rows had the id of another, and got one of their own: 'q' became 'q-2'."]


def test_what_is_not_read_is_named(run: Run, put: Put) -> None:
    folder = put({"log.csv": LOG, "README.md": "Words.", "codes.bin": b"\0\1"})
    assert "Not read: README.md, codes.bin." in run(folder).imported.notes


def test_a_json_array_is_a_table(run: Run, put: Put) -> None:
    found = run(put({"log.json": json.dumps([{"user_id": 1, "item_id": item} for item in (10, 11)], indent=1)}))
    assert found.path("1-1") == (["10"], "11")


def test_rows_that_an_upload_would_refuse_are_left_out_with_what_refers_to_them(run: Run, put: Put) -> None:
    items = rows(
        {"item_id": "x" * 300, "title": "Long"}, {"item_id": "a", "title": "A"}, {"item_id": "b", "title": "B"}
    )
    log = rows(*({"user_id": 1, "item_id": item} for item in ("x" * 300, "a", "b")))
    found = run(put({"items.jsonl": items, "log.jsonl": log}))
    assert [item["item_id"] for item in found.items] == ["a", "b"]
    assert found.imported.dropped["row that an upload would refuse: item_id should have at most 256 characters"] == 1
    assert found.imported.dropped["interaction with an item that is not in the catalogue"] == 1


def test_options_that_rows_cannot_follow_are_refused(run: Run, put: Put) -> None:
    folder = put({"samples.jsonl": rows({"id": "s", "history": ["a"], "target": "b"})})
    with pytest.raises(SourceError, match="--min-interactions, --split, --min-rating cannot be followed with rows"):
        run(folder, split="time", min_rating=3, min_interactions=2)
    prompts = put({"samples.jsonl": rows({"id": "q", "prompt": "1 + 1?"})})
    with pytest.raises(SourceError, match="--split cannot be followed with prompts"):
        run(prompts, split="time")


def test_a_split_that_is_none_of_ours_is_noted(run: Run, put: Put) -> None:
    lines = rows(*({"id": f"q{n}", "prompt": "?", "split": split} for n, split in enumerate(("dev", "fold1"))))
    found = run(put({"q.jsonl": lines}))
    assert [row.get("split") for row in found.prompts] == ["valid", None]
    assert any("'fold1'" in note for note in found.imported.notes)
