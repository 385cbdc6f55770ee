"""A dataset is its rows: whatever file they came in, the same dataset is stored, under the same hash."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.data.dataset import Dataset
from minirec.data.ingest import Ingested, ingest
from tests.unit.data.fixture_types import Rows, WriteJsonl

SAMPLE_COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("user_id", pa.string()),
        ("history", pa.list_(pa.string())),
        ("target", pa.string()),
        ("timestamp", pa.int64()),
        ("ratings", pa.list_(pa.float64())),
        ("history_timestamps", pa.list_(pa.int64())),
        ("split", pa.string()),
    ]
)


@pytest.fixture
def from_jsonl(tmp_path: Path, write_jsonl: WriteJsonl, samples: Rows, items: Rows) -> Ingested:
    return ingest(write_jsonl("samples.jsonl", samples), write_jsonl("items.jsonl", items), tmp_path / "jsonl")


def as_parquet(path: Path, rows: Rows, schema: pa.Schema | None = None) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def test_counts_what_is_in_the_dataset(from_jsonl: Ingested) -> None:
    assert (from_jsonl.n_samples, from_jsonl.n_items, from_jsonl.n_users) == (2, 3, 1)
    assert from_jsonl.splits == {"train": 1, "none": 1}
    assert from_jsonl.samples_path.is_file()
    assert from_jsonl.items_path.is_file()


def test_gzip_is_the_same_dataset_even_without_the_suffix_and_in_two_members(
    tmp_path: Path, from_jsonl: Ingested
) -> None:
    lines = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    packed = tmp_path / "samples.data"
    packed.write_bytes(gzip.compress(lines[0]) + gzip.compress(b"".join(lines[1:])))
    again = ingest(packed, tmp_path / "items.jsonl", tmp_path / "gz")
    assert again.content_hash == from_jsonl.content_hash


def test_parquet_is_the_same_dataset(tmp_path: Path, samples: Rows, items: Rows, from_jsonl: Ingested) -> None:
    again = ingest(
        as_parquet(tmp_path / "samples.parquet", samples, SAMPLE_COLUMNS),
        as_parquet(tmp_path / "items.parquet", items),
        tmp_path / "parquet",
    )
    assert again.content_hash == from_jsonl.content_hash
    assert again.splits == from_jsonl.splits
    files = [(found.samples_path, found.items_path) for found in (from_jsonl, again)]
    tables = [[pq.read_table(path).to_pylist() for path in pair] for pair in files]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("text_type", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_texts_may_be_large_or_dictionary_encoded(
    tmp_path: Path, samples: Rows, text_type: pa.DataType, from_jsonl: Ingested
) -> None:
    table = pa.Table.from_pylist(samples, schema=SAMPLE_COLUMNS)
    for name in ("id", "target", "split"):
        column = table[name].combine_chunks()
        column = column.dictionary_encode() if pa.types.is_dictionary(text_type) else column.cast(text_type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "samples.parquet")
    again = ingest(tmp_path / "samples.parquet", tmp_path / "items.jsonl", tmp_path / "typed")
    assert again.content_hash == from_jsonl.content_hash


def test_the_order_of_json_keys_and_nulls_do_not_change_the_hash(
    tmp_path: Path, write_jsonl: WriteJsonl, samples: Rows, items: Rows, from_jsonl: Ingested
) -> None:
    shuffled = [dict(reversed(item.items())) | {"director": None} for item in items]
    nulls = [{"split": None, "user_id": None, "ratings": None} | sample for sample in samples]
    again = ingest(write_jsonl("s2.jsonl", nulls), write_jsonl("i2.jsonl", shuffled), tmp_path / "again")
    assert again.content_hash == from_jsonl.content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": 1001},
        {"ratings": [4.5, 4.0]},
        {"history": ["b", "a"]},
        {"split": "test"},
        {"user_id": "u2"},
        {"history_timestamps": None},
    ],
)
def test_every_change_of_a_sample_changes_the_hash(
    tmp_path: Path, write_jsonl: WriteJsonl, samples: Rows, change: dict[str, Any], from_jsonl: Ingested
) -> None:
    changed = [samples[0] | change, samples[1]]
    again = ingest(write_jsonl("s2.jsonl", changed), tmp_path / "items.jsonl", tmp_path / "again")
    assert again.content_hash != from_jsonl.content_hash


def test_the_order_of_rows_and_the_other_fields_of_items_change_the_hash(
    tmp_path: Path, write_jsonl: WriteJsonl, samples: Rows, items: Rows
) -> None:
    variants = [(samples, items), (samples[::-1], items), (samples, [items[0] | {"year": 1980}, *items[1:]])]
    hashes = {
        ingest(write_jsonl("s.jsonl", s), write_jsonl("i.jsonl", i), tmp_path / str(number)).content_hash
        for number, (s, i) in enumerate(variants)
    }
    assert len(hashes) == 3


def test_blank_lines_crlf_and_a_byte_order_mark_are_no_faults(
    tmp_path: Path, write_jsonl: WriteJsonl, samples: Rows, items: Rows, from_jsonl: Ingested
) -> None:
    text = (tmp_path / "samples.jsonl").read_bytes()
    windows = tmp_path / "windows.jsonl"
    windows.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n") + b"  \r\n")
    again = ingest(windows, tmp_path / "items.jsonl", tmp_path / "windows")
    assert again.content_hash == from_jsonl.content_hash


def test_more_rows_than_one_row_group_keep_their_order(tmp_path: Path, write_jsonl: WriteJsonl, items: Rows) -> None:
    rows = [{"id": f"s{i}", "history": ["abc"[i % 3]], "target": "abc"[(i + 1) % 3]} for i in range(40_000)]
    found = ingest(write_jsonl("s.jsonl", rows), write_jsonl("i.jsonl", items), tmp_path / "many")
    dataset = Dataset.open(found.samples_path, found.items_path)
    assert dataset.n_samples == 40_000
    for row in (0, 16_383, 16_384, 39_999, 5):
        assert dataset.sample_json(row) == rows[row]
