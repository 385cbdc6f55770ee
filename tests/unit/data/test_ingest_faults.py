"""Every fault of an upload is told with its file, line and field, and leaves no dataset behind."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from minirec.data.files import RATIO_FREE_BYTES
from minirec.data.ingest import DatasetError, Limits, ingest
from tests.unit.data.fixture_types import Rows, WriteJsonl

Fault = tuple[str, int | None, str | None, str]
"""File, line, field, message."""
Refused = Callable[..., tuple[list[Fault], int]]
GOOD = {"id": "s1", "history": ["a"], "target": "b"}


@pytest.fixture
def refused(tmp_path: Path, write_jsonl: WriteJsonl, items: Rows) -> Refused:
    """Upload something that must be refused; return the faults as (file, line, field, msg) and the total."""

    def upload(
        samples: Path | Iterable[Any], catalogue: Path | Iterable[Any] | None = None, limits: Limits | None = None
    ) -> tuple[list[Fault], int]:
        s = samples if isinstance(samples, Path) else write_jsonl("samples.jsonl", samples)
        c = catalogue if isinstance(catalogue, Path) else write_jsonl("items.jsonl", catalogue or items)
        out = tmp_path / "out"
        with pytest.raises(DatasetError) as caught:
            ingest(s, c, out, limits=limits or Limits())
        assert list(out.iterdir()) == []
        faults = [(error.file, error.line, error.field, error.msg) for error in caught.value.errors]
        return faults, caught.value.total

    return upload


@pytest.mark.parametrize(
    ("row", "field", "msg"),
    [
        ({"history": ["a"], "target": "b"}, "id", "the field is missing"),
        (GOOD | {"id": 7.5}, "id", "valid string, got 7.5"),
        (GOOD | {"id": True}, "id", "valid string, got true"),
        (GOOD | {"id": "\u200b \u3000"}, "id", "is blank"),
        (GOOD | {"id": ""}, "id", "at least 1 character"),
        (GOOD | {"id": "x" * 300}, "id", "at most 256 characters"),
        (GOOD | {"history": []}, "history", "must not be empty"),
        (GOOD | {"history": "a"}, "history", 'must be a list, got "a"'),
        (GOOD | {"history": ["a", 1.5, False]}, "history[1]", "valid string, got 1.5 (and 1 more in this field)"),
        (GOOD | {"history": ["a", None]}, "history[1]", "valid string, got null"),
        (GOOD | {"history": ["zz", "a", "yy"]}, "history[0]", '"zz" is not in the catalogue (and 1 more'),
        (GOOD | {"target": "zz"}, "target", 'item "zz" is not in the catalogue'),
        (GOOD | {"timestamp": "2001-01-01"}, "timestamp", 'valid number, got "2001-01-01"'),
        (GOOD | {"timestamp": True}, "timestamp", "valid number, got true"),
        (GOOD | {"timestamp": float("nan")}, "timestamp", "finite number"),
        (GOOD | {"ratings": [float("inf")]}, "ratings[0]", "finite number"),
        (GOOD | {"ratings": [1, 2]}, None, "ratings has 2 values for 1 history items"),
        (GOOD | {"split": "dev"}, "split", "'train', 'valid' or 'test'"),
        (GOOD | {"stars": 5}, "stars", "unknown field"),
        ([1], None, "must be an object"),
        ('{"id": "s1"', None, "not valid JSON: EOF while parsing an object at column 11"),
        ('{"id": "\\ud800", "history": ["a"], "target": "b"}', None, "not valid JSON"),
        (b'{"id": "s\xe9", "history": ["a"], "target": "b"}', None, "not valid UTF-8 at byte 10 of the line (0xe9)"),
    ],
)
def test_a_bad_sample_is_named_by_line_and_field(refused: Refused, row: Any, field: str | None, msg: str) -> None:
    faults, total = refused(["", GOOD | {"id": "s0"}, row])
    assert total == 1
    assert faults[0][:3] == ("samples.jsonl", 3, field)
    assert msg in faults[0][3]


@pytest.mark.parametrize(
    ("row", "field", "msg"),
    [
        ({"title": "Alien"}, "item_id", "the field is missing"),
        ({"item_id": "d"}, "title", "the field is missing"),
        ({"item_id": "d", "title": ""}, "title", "at least 1 character"),
        ({"item_id": "d", "title": None}, "title", "missing or null"),
        ({"item_id": "d", "title": "\u2060\n"}, "title", "is blank"),
        ({"item_id": "d", "title": "D", "price": float("nan")}, "price", "NaN or an infinite number"),
        ({"item_id": "d", "title": "D", "sizes": [1, float("-inf")]}, "sizes", "NaN or an infinite number"),
        ({"item_id": "a", "title": "Again"}, "item_id", '"a" is on line 1 already'),
        ('{"item_id": "d", "title": "D", "x": ' + "[" * 500 + "]" * 500 + "}", None, "recursion limit"),
        ('{"item_id": "d", "title": "D", "x": ' + "9" * 5000 + "}", None, "number out of range"),
    ],
)
def test_a_bad_item_is_named_by_line_and_field(
    refused: Refused, items: Rows, row: Any, field: str | None, msg: str
) -> None:
    faults, total = refused([GOOD], [*items, row])
    assert total == 1
    assert faults[0][:3] == ("items.jsonl", 4, field)
    assert msg in faults[0][3]


def test_a_sample_id_that_came_before_names_both_lines(refused: Refused) -> None:
    rows = [GOOD, GOOD | {"id": "s2"}, "", GOOD, GOOD | {"id": "s2"}, GOOD]
    faults, total = refused(rows)
    assert total == 3
    assert [(line, field) for _, line, field, _ in faults] == [(4, "id"), (5, "id"), (6, "id")]
    assert "on line 1 already" in faults[0][3]
    assert "on line 2 already" in faults[1][3]
    assert "on line 1 already" in faults[2][3]


def test_a_hundred_faults_are_told_and_all_are_counted(refused: Refused) -> None:
    faults, total = refused([GOOD | {"id": f"s{i}", "target": "zz"} for i in range(250)])
    assert (len(faults), total) == (100, 250)


def test_a_broken_catalogue_does_not_drown_in_unknown_items(refused: Refused, items: Rows) -> None:
    samples = [GOOD | {"id": f"s{i}"} for i in range(50)] + [GOOD | {"id": 7.5}]
    faults, total = refused(samples, [{"item_id": "a"}, *items[1:]])
    assert total == 2
    assert [fault[:3] for fault in faults] == [("items.jsonl", 1, "title"), ("samples.jsonl", 51, "id")]


def test_messages_use_the_names_that_the_client_knows(tmp_path: Path, write_jsonl: WriteJsonl, items: Rows) -> None:
    with pytest.raises(DatasetError, match=r"mine\.jsonl:1: target: item \"zz\" is not in the catalogue"):
        ingest(
            write_jsonl("upload-1", [GOOD | {"target": "zz"}]),
            write_jsonl("upload-2", items),
            tmp_path / "out",
            samples_name="mine.jsonl",
        )


@pytest.mark.parametrize(
    ("content", "line", "msg"),
    [
        (b"", None, "the file is empty"),
        (b"\n \n", None, "the file has no rows"),
        (b'[{"id": "s1"}]', 1, "one object per line"),
        ('{"id": "s1"}\n'.encode("utf-16"), None, "UTF-16"),
        (bz2.compress(b"{}"), None, "bzip2"),
        (lzma.compress(b"{}"), None, "xz"),
        (gzip.compress(b"PAR1 and so on", mtime=0), None, "Parquet file inside gzip"),
        (gzip.compress(random.Random(0).randbytes(5000).hex().encode(), mtime=0)[:-700], None, "cut short"),
        (gzip.compress(b"{}", mtime=0)[:-1], None, "cut short"),
        (gzip.compress(b"{}", mtime=0)[:-6] + b"\0\0\0\0\0\0", None, "damaged"),
        (gzip.compress(b"{}", mtime=0) + b"and more", None, "damaged"),
    ],
)
def test_a_file_of_another_kind_or_a_damaged_one_is_refused_whole(
    refused: Refused, tmp_path: Path, content: bytes, line: int | None, msg: str
) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(content)
    faults, _ = refused(path)
    assert faults[-1][:3] == ("samples.jsonl", line, None)
    assert msg in faults[-1][3]


def test_a_zip_archive_is_refused(refused: Refused, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "samples.zip", "w") as archive:
        archive.writestr("samples.jsonl", json.dumps(GOOD))
    faults, total = refused(tmp_path / "samples.zip")
    assert total == 1
    assert "zip archive" in faults[0][3]


@pytest.mark.parametrize(
    ("limits", "line", "msg"),
    [
        (Limits(max_rows=2), 3, "more than 2 rows"),
        (Limits(max_bytes=100), 1, "more than 100 bytes of text"),
        (Limits(max_line_bytes=20), 1, "longer than 20 bytes"),
    ],
)
def test_limits_hold(refused: Refused, write_jsonl: WriteJsonl, limits: Limits, line: int | None, msg: str) -> None:
    samples = write_jsonl("s.jsonl", [GOOD | {"id": f"sample-{i}"} for i in range(4)])
    faults, _ = refused(samples, limits=limits)
    assert any(fault[:2] == ("s.jsonl", line) and msg in fault[3] for fault in faults)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(refused: Refused, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as file:
        for _ in range(2 * RATIO_FREE_BYTES >> 20):
            file.write(b" " * ((1 << 20) - 1) + b"\n")
    faults, total = refused(bomb)
    assert total == 1
    assert "more than 100 times its size" in faults[0][3]


def test_an_earlier_dataset_in_the_folder_survives_a_failed_upload(
    tmp_path: Path, write_jsonl: WriteJsonl, items: Rows
) -> None:
    catalogue = write_jsonl("items.jsonl", items)
    kept = ingest(write_jsonl("good.jsonl", [GOOD]), catalogue, tmp_path / "out")
    before = kept.samples_path.read_bytes()
    with pytest.raises(DatasetError):
        ingest(write_jsonl("bad.jsonl", [GOOD | {"target": "zz"}]), catalogue, tmp_path / "out")
    assert kept.samples_path.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["items.parquet", "samples.parquet"]
