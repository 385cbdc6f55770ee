"""Parquet files are refused by their footer where that is enough, and row by row where it is not."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.data.ingest import DatasetError, Limits, ingest
from tests.unit.data.fixture_types import Rows, WriteJsonl

Fault = tuple[int | None, str | None, str]
"""Line, field, message."""
Refused = Callable[..., list[Fault]]
COLUMNS = {
    "id": pa.array(["s1", "s2"]),
    "history": pa.array([["a"], ["b", "a"]]),
    "target": pa.array(["b", "c"]),
}


@pytest.fixture
def refused(tmp_path: Path, write_jsonl: WriteJsonl, items: Rows) -> Refused:
    """Upload samples (columns) with a catalogue (columns or none) that must be refused; return the faults."""

    def upload(
        columns: dict[str, Any], catalogue: dict[str, Any] | None = None, limits: Limits | None = None
    ) -> list[Fault]:
        pq.write_table(pa.table(columns), tmp_path / "samples.parquet")
        items_path = write_jsonl("items.jsonl", items)
        if catalogue is not None:
            items_path = tmp_path / "items.parquet"
            pq.write_table(pa.table(catalogue), items_path)
        with pytest.raises(DatasetError) as caught:
            ingest(tmp_path / "samples.parquet", items_path, tmp_path / "out", limits=limits or Limits())
        assert list((tmp_path / "out").iterdir()) == []
        return [(error.line, error.field, error.msg) for error in caught.value.errors]

    return upload


@pytest.mark.parametrize(
    ("change", "msg"),
    [
        ({"id": pa.array([b"s1", b"s2"])}, "column id has type binary; write it as text or number"),
        ({"timestamp": pa.array([datetime.date(2001, 1, 1)] * 2)}, "column timestamp has type date32[day]; write it"),
        ({"born": pa.array([datetime.date(2001, 1, 1)] * 2)}, "column born is unknown"),
    ],
)
def test_a_column_of_a_type_that_json_lacks_is_refused_before_any_row(
    refused: Refused, change: dict[str, Any], msg: str
) -> None:
    ((line, field, found),) = refused(COLUMNS | change)
    assert (line, field) == (None, None)
    assert msg in found


@pytest.mark.parametrize("name", ["id", "history", "user_id"])
def test_a_column_that_is_there_twice_is_refused_by_name(
    tmp_path: Path, write_jsonl: WriteJsonl, items: Rows, name: str
) -> None:
    table = pa.table(COLUMNS | {"user_id": pa.array(["u", "v"])})
    pq.write_table(table.append_column(name, table[name]), tmp_path / "samples.parquet")
    with pytest.raises(DatasetError, match=f"column {name} is there twice"):
        ingest(tmp_path / "samples.parquet", write_jsonl("items.jsonl", items), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "field", "msg"),
    [
        ({"id": pa.array([1.5, 2.5])}, "id", "valid string, got 1.5 (the same in 1 more row)"),
        ({"history": pa.array(["a", "b"])}, "history", 'must be a list, got "a" (the same in 1 more row)'),
        ({"timestamp": pa.array(["1", "2"])}, "timestamp", 'valid number, got "1" (the same in 1 more row)'),
        ({"ratings": pa.array([1.0, 2.0])}, "ratings", "must be a list, got 1 (the same in 1 more row)"),
        ({"stars": pa.array([1, 2])}, "stars", "unknown field; a sample has id, history"),
    ],
)
def test_a_column_whose_values_are_all_of_the_wrong_type_is_one_fault(
    refused: Refused, change: dict[str, Any], field: str | None, msg: str
) -> None:
    ((line, found_field, found),) = refused(COLUMNS | change)
    assert (line, found_field) == (1, field)
    assert msg in found


def test_missing_columns_are_named_together(refused: Refused) -> None:
    ((_, _, msg),) = refused({"id": COLUMNS["id"]})
    assert msg == "column history is missing; column target is missing"


@pytest.mark.parametrize(
    ("change", "line", "field", "msg"),
    [
        ({"id": pa.array(["s1", None])}, 2, "id", "missing or null"),
        ({"id": pa.array(["s1", "s1"])}, 2, "id", "is on line 1 already"),
        ({"history": pa.array([[], ["a"]], pa.list_(pa.string()))}, 1, "history", "must not be empty"),
        ({"history": pa.array([["a"], None])}, 2, "history", "missing or null"),
        ({"target": pa.array(["b", "zz"])}, 2, "target", "not in the catalogue"),
        ({"timestamp": pa.array([1.0, float("nan")])}, 2, "timestamp", "finite number"),
        ({"ratings": pa.array([[1.0], [2.0]])}, 2, None, "ratings has 1 values for 2 history items"),
    ],
)
def test_a_bad_row_is_named_by_its_number(
    refused: Refused, change: dict[str, Any], line: int | None, field: str | None, msg: str
) -> None:
    (fault,) = refused(COLUMNS | change)
    assert fault[:2] == (line, field)
    assert msg in fault[2]


def test_catalogue_columns_that_are_no_json_are_refused(refused: Refused) -> None:
    catalogue = {"item_id": ["a"], "title": ["Alien"], "released": pa.array([datetime.date(1979, 5, 25)])}
    (fault,) = refused(COLUMNS, catalogue)
    assert fault[2] == "column released has type date32[day]; write it as text or number"


def test_bytes_that_are_no_utf8_are_refused(refused: Refused) -> None:
    broken = pa.array([b"s1", b"s\xff"]).view(pa.string())
    (fault,) = refused(COLUMNS | {"id": broken})
    assert "Invalid UTF8" in fault[2]


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, write_jsonl: WriteJsonl, items: Rows, keep: float) -> None:
    pq.write_table(pa.table(COLUMNS), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DatasetError, match="damaged or cut short"):
        ingest(tmp_path / "cut.parquet", write_jsonl("items.jsonl", items), tmp_path / "out")


@pytest.mark.parametrize(
    ("limits", "msg"),
    [
        (Limits(max_rows=1), "2 rows, more than 1"),
        (Limits(max_columns=2), "3 columns, more than 2"),
        (Limits(max_bytes=50), "more than 50 bytes of text"),
        (Limits(max_line_bytes=20), "longer than 20 bytes"),
    ],
)
def test_the_footer_is_held_against_the_limits(refused: Refused, limits: Limits, msg: str) -> None:
    # The catalogue is under the same limits and may trip over them as well.
    faults = refused(COLUMNS, limits=limits)
    assert any(msg in fault[2] for fault in faults)


def repeated_text(rows: int) -> dict[str, Any]:
    """A text of one megabyte in every row: one dictionary entry in the file, gigabytes once unpacked."""
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * (1 << 20)]))
    return {"id": long, "history": pa.array([["a"]] * rows), "target": pa.array(["b"] * rows)}


def test_what_unpacks_beyond_the_memory_limit_ends_the_reading_process_and_not_this_one(refused: Refused) -> None:
    faults = refused(repeated_text(2_000), limits=Limits(max_memory_bytes=1 << 30))
    assert faults == [(None, None, "unpacking takes more than 1073741824 bytes of memory; write smaller row groups")]


def test_what_unpacks_to_endless_text_is_refused_by_the_same_limit_as_jsonl(refused: Refused) -> None:
    faults = refused(repeated_text(100), limits=Limits(max_bytes=10 << 20))
    assert faults[-1][2] == "more than 10485760 bytes of text; split the data"


def test_a_list_that_repeats_one_value_without_end_is_refused(refused: Refused, tmp_path: Path) -> None:
    endless = 2_000_000
    history = pa.ListArray.from_arrays([0, endless], pa.nulls(endless, pa.string()))
    (fault,) = refused({"id": pa.array(["s1"]), "history": history, "target": pa.array(["b"])})
    assert (tmp_path / "samples.parquet").stat().st_size < 10_000
    assert fault == (1, None, "longer than 4194304 bytes, too long for one row")


def test_a_footer_that_ends_the_process_which_reads_it_is_a_fault_like_any_other(
    tmp_path: Path, write_jsonl: WriteJsonl, items: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table(COLUMNS), tmp_path / "samples.parquet")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")
    with pytest.raises(DatasetError, match=r"samples\.parquet: the Parquet file is damaged"):
        ingest(tmp_path / "samples.parquet", write_jsonl("items.jsonl", items), tmp_path / "out")
