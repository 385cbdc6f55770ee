"""What `datasets.upload` takes besides paths: tables, values of numpy, open files, addresses."""

from __future__ import annotations

import http.server
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import httpx2
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from minirec.client import parts
from tests.unit.client.scripted_service import Script
from tests.unit.client.test_client_resources import DATASET

pytestmark = pytest.mark.usefixtures("both_clients")

ROWS: list[dict[str, Any]] = [
    {"id": 1, "history": [10, 11], "target": 12, "timestamp": 1_704_067_200},
    {"id": 2, "history": [12], "target": 10, "timestamp": 1_704_067_201},
]
TABLES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas with numpy histories": lambda: pd.DataFrame([{**row, "history": np.array(row["history"])} for row in ROWS]),
    "polars": lambda: pl.DataFrame(ROWS),
    "pyarrow": lambda: pa.Table.from_pylist(ROWS),
    "datasets": lambda: datasets.Dataset.from_list(ROWS),
    "columns": lambda: {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "rows of numpy": lambda: [
        {name: np.array(value) if name == "history" else np.int64(value) for name, value in row.items()} for row in ROWS
    ],
    "a generator": lambda: (row for row in ROWS),
}


def sent(samples: Any, items: Any, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each file that an upload sends."""
    service = Script(httpx2.Response(201, json=DATASET))
    service.client().datasets.upload(samples, items, **options)
    found: dict[str, list[dict[str, Any]]] = {}
    boundary = service.requests[0].headers["content-type"].partition("boundary=")[2].encode()
    for part in service.requests[0].content.split(b"--" + boundary):
        head, _, body = part.partition(b"\r\n\r\n")
        for name in ("samples", "items"):
            if f'name="{name}";'.encode() in head:
                found[name] = [json.loads(line) for line in body.strip().splitlines()]
    return found


def test_a_named_index_of_pandas_is_a_column() -> None:
    items = [{"item_id": 10, "title": "Heat"}]
    assert sent(pd.DataFrame(ROWS).set_index(["id", "target"]), pd.DataFrame(items).set_index("item_id")) == sent(
        [{**{name: row[name] for name in ("id", "target")}, **row} for row in ROWS], items
    )


@pytest.mark.parametrize(
    ("samples", "error", "said"),
    [
        (pd.DataFrame([[1, 2]], columns=["id", "id"]), ValueError, "more than one column 'id'"),
        (pa.Table.from_arrays([pa.array([1])] * 2, names=["id", "id"]), ValueError, "more than one column 'id'"),
        (pl.DataFrame(ROWS).lazy(), TypeError, r"\.collect\(\)"),
        (5, TypeError, "samples is int; give a path"),
        (b"{}", TypeError, "samples is bytes; give a path"),
    ],
)
def test_what_is_no_table_is_refused(samples: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        sent(samples, [{"item_id": 1, "title": "Heat"}])


@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES)
def test_tables_are_sent_row_by_row(made: Callable[[], Any]) -> None:
    assert sent(made(), [])["samples"] == ROWS


def test_what_pandas_calls_missing_is_null_and_an_index_is_no_column() -> None:
    items = pd.DataFrame(
        {"item_id": [1, 2], "title": ["Lamp", np.nan], "year": [1999, np.nan], "price": [Decimal("1.5"), None]}
    ).astype({"year": "Int64"})
    items["sold"] = pd.to_datetime(["2024-01-01", None])
    items.index = pd.Index(["a", "b"])
    assert sent([], items)["items"] == [
        {"item_id": 1, "title": "Lamp", "year": 1999, "price": 1.5, "sold": "2024-01-01T00:00:00"},
        {"item_id": 2, "title": None, "year": None, "price": None, "sold": None},
    ]


@pytest.mark.parametrize(("unit", "factor"), [(None, 1), ("ms", 1_000)])
def test_dates_of_samples_are_times_in_the_unit_of_the_upload(unit: str | None, factor: int) -> None:
    frame = pd.DataFrame(ROWS)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s").dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    rows = sent(frame, [], timestamp_unit=unit)["samples"]
    assert [row["timestamp"] for row in rows] == [row["timestamp"] * factor for row in ROWS]
    rows = sent([{"timestamp": np.datetime64("2024-01-01T00:00:00")}], [], timestamp_unit=unit)["samples"]
    assert rows == [{"timestamp": ROWS[0]["timestamp"] * factor}]


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def test_open_files_are_sent_from_where_they_stand_and_stay_open(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("header\n" + LINES)
    with path.open("rb") as binary, path.open() as text:
        binary.readline()
        text.readline()
        assert sent(binary, text) == {"samples": ROWS, "items": ROWS}
        assert not binary.closed
    assert sent(io.BytesIO(LINES.encode()), io.StringIO(LINES)) == {"samples": ROWS, "items": ROWS}


class Files(http.server.BaseHTTPRequestHandler):
    """Serves rows to whoever comes without a key."""

    def do_GET(self) -> None:
        fine = self.path.startswith("/rows.jsonl") and "Authorization" not in self.headers
        self.send_response(200 if fine else 404)
        self.send_header("Content-Type", "text/html" if "page" in self.path else "application/jsonl")
        self.end_headers()
        self.wfile.write(LINES.encode())

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


def test_addresses_are_downloaded_without_the_key(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_API_KEY", "secret")
    assert sent(f"{server}/rows.jsonl?download=1", [])["samples"] == ROWS


def test_what_an_address_does_not_give_is_said(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, words in (("gone", "answered 404"), ("rows.jsonl?page", "a web page")):
        with pytest.raises(OSError, match=words):
            sent(f"{server}/{path}", [])
    monkeypatch.setattr(parts.download, "__kwdefaults__", {"limit": 10})
    with pytest.raises(OSError, match="larger than 10 bytes"):
        sent(f"{server}/rows.jsonl", [])
    with pytest.raises(OSError, match="cannot be downloaded"):
        sent("http://127.0.0.1:1/rows.jsonl", [])


def test_the_client_imports_none_of_the_libraries_whose_tables_it_takes() -> None:
    code = "import sys, minirec.client; print({'numpy', 'pandas', 'polars', 'pyarrow', 'datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def signal_files(**parts: Any) -> dict[str, bytes]:
    """Return the content of each file that an upload of signals sends."""
    answer = {"dataset_id": "ds_1", "created_at": 1.0, "n_samples": 2, "rollouts": 1, "content_hash": "0"}
    answer |= {"dataset_content_hash": "0", "has_hits": False}
    service = Script(httpx2.Response(201, json=answer))
    service.client().datasets.upload_signals("ds_1", rewards=[{"sample_id": 1, "reward": [1]}], **parts)
    boundary = service.requests[0].headers["content-type"].partition("boundary=")[2].encode()
    found = {}
    for part in service.requests[0].content.split(b"--" + boundary)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        found[head.split(b'name="')[1].split(b'"')[0].decode()] = body.removesuffix(b"\r\n")
    return found


ARRAYS: dict[str, Any] = {
    "float32": np.arange(12, dtype=np.float32).reshape(4, 3),
    "float16, in Fortran's order": np.asfortranarray(np.arange(12, dtype=np.float16).reshape(4, 3)),
    "every second row": np.arange(24.0).reshape(8, 3)[::2],
    "big-endian": np.arange(12, dtype=">f4").reshape(4, 3),
    "more than a block": np.ones((9_000, 2), dtype=np.float32),
    "one axis": np.arange(5.0),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_sent_as_numpy_would_save_them(array: Any) -> None:
    sent_array = np.load(io.BytesIO(signal_files(vectors=array)["vectors"]))
    assert sent_array.dtype == array.dtype
    np.testing.assert_array_equal(sent_array, array)


def test_tensors_and_ids_are_sent() -> None:
    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).requires_grad_()
    found = signal_files(embeddings=tensor, ids=["a", 7])
    np.testing.assert_array_equal(np.load(io.BytesIO(found["embeddings"])), [[0, 1, 2], [3, 4, 5]])
    assert found["ids"] == b"a\n7\n"
    with pytest.raises(TypeError, match="vectors is an array of object, not of numbers"):
        signal_files(vectors=np.array([{}, {}]))
    with pytest.raises(TypeError, match=r"embeddings is DataFrame; give an array \(of a data frame: \.to_numpy"):
        signal_files(embeddings=pd.DataFrame({"a": [1.0, 2.0]}))
    assert signal_files(ids=pd.Series(["x", "y"]))["ids"] == b"x\ny\n"


def test_a_folder_is_pointed_to_the_import(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="minirec import"):
        sent(tmp_path, [])
