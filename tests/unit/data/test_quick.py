"""Samples checked in chunks, of lines or of columns, and row by row: the same files, hashes, warnings and faults."""

from __future__ import annotations

import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minirec.api_schemas.rows import TimestampUnit
from minirec.data import ingest as ingesting
from minirec.data import rows, tables
from minirec.data.ingest import DatasetError, ingest
from minirec.data.quick import Chunk, quick_samples

CATALOGUE = ["a", "b", "ü", "7", "x" * 256, "-0"]
ITEMS = "".join(json.dumps({"item_id": item, "title": "T"}) + "\n" for item in CATALOGUE)

items = st.sampled_from(CATALOGUE)
numbers = st.sampled_from([0, -0.0, 1, 2.5, 1e-7, 1e16, 2**53 + 1, 2**63, 2**64 + 1, 10**30])
times = st.sampled_from([0, 5, 1.5e9, 1_600_000_000, 1e-300, -1e7, 10**10])
ids = st.text("aé_ 7", min_size=1, max_size=4).map(lambda text: f"s{text}") | st.integers(0, 2**70)
ODD: dict[str, list[Any]] = {
    "id": [None, "", " ", "\u200b", "\u200bx", "x" * 257, 1.0, 1.5, True, [], {}, "\x00", '"\n\\'],
    "user_id": ["", " ", 5, -0.0, 10**30, False, ["u"]],
    "history": [None, [], {}, "a", ["a", None], [7], [7.0], ["nowhere"], [["a"]], ["a"] * 10_001],
    "target": [None, 7, 7.0, "nowhere", True, []],
    "timestamp": [None, True, "5", 1e11, 10**18, 10**400, [5], {}],
    "ratings": [None, [], [None], [True], ["5"], [float("nan")], [float("inf")], 5, {}, [[1]]],
    "history_timestamps": [None, [], [None], [1e11], ["5"], 5, {"a": 1}],
    "split": [None, "", "dev", 5, ["train"], {}],
    "stars": [None, 5],
    "__index_level_0__": [5],
}
BROKEN = [
    b"", b"  \r", b"[]", b"null", b"{", b'{"id": "s"}}', b"\xff", b'{"id": "\\ud800"}', b"{}", b"\xef\xbb\xbf", b"5",
    b'{"id": "q", "id": "r", "history": ["a"], "target": "b"}', b'{"id": "q", "history": ["a"], "target": "b"} {}',
    b'{"id": "q", "history": ["a"], "target": "b", "timestamp": -0}', b'{"id": "\t", "history": ["a"], "target": "b"}',
    b'{"id": "q", "history": ["a"], "target": "b", "timestamp": 1E3}', b'\x0b{"id":"q","history":["a"],"target":"b"}',
    b'{"id": "q", "history": ["a"], "target": "b", "timestamp": 1e999}', b'{"id": "q", "history": ["a"], "target": 01}',
    b'{"id": "q", "history": ["a"], "target": "b", "timestamp": 123456789.12345678901234567890}',
    b'{"id": "q", "history": ["a"], "target": "b", "timestamp": 0.1e-320}', b'{"id":"q","history":["a",],"target":"b"}',
]  # fmt: skip


@st.composite
def usual(draw: st.DrawFn) -> dict[str, Any]:
    history = draw(st.lists(items, min_size=1, max_size=3))
    row: dict[str, Any] = {"id": draw(ids), "history": history, "target": draw(items)}
    lists: dict[str, st.SearchStrategy[Any]] = {"ratings": numbers, "history_timestamps": times}
    for name in draw(st.sets(st.sampled_from(["user_id", "timestamp", "split", *lists]))):
        if name in lists:
            row[name] = [draw(lists[name] | st.none()) for _ in history]
        else:
            row[name] = draw(
                {"user_id": ids, "timestamp": times, "split": st.sampled_from(["train", "test", None])}[name]
            )
    return row


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    found = [json.dumps(row, ensure_ascii=False).encode() for row in draw(st.lists(usual(), min_size=4, max_size=8))]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(found) - 1))
        if draw(st.booleans()):
            found.insert(place, draw(st.sampled_from(BROKEN)))
        else:
            name = draw(st.sampled_from([*ODD]))
            found[place] = json.dumps(draw(usual()) | {name: draw(st.sampled_from(ODD[name]))}).encode()
    return found


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Small chunks; whether each was taken."""
    taken: list[bool] = []

    def watched(*given: Any) -> Chunk | None:
        found = quick_samples(*given)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(rows, "CHUNK_ROWS", 3)
    monkeypatch.setattr(ingesting, "quick_samples", watched)
    return taken


def outcome(samples: bytes, unit: TimestampUnit | None) -> tuple[Any, ...]:
    """Everything that an upload comes to: facts and files, or faults."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "samples").write_bytes(samples)
        (folder / "items").write_text(ITEMS)
        try:
            found = ingest(folder / "samples", folder / "items", folder / "out", timestamp_unit=unit)
        except DatasetError as error:
            return error.total, [(fault.line, fault.field, fault.msg) for fault in error.errors]
        facts = (found.n_samples, found.n_users, found.splits, found.content_hash, found.warnings)
        return *facts, found.samples_path.read_bytes()


def row_by_row(samples: bytes, unit: TimestampUnit | None, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    with monkeypatch.context() as patch:
        patch.setattr(ingesting, "quick_samples", lambda *_: None)
        return outcome(samples, unit)


@pytest.mark.parametrize(
    "odd",
    [(name, value) for name, values in ODD.items() for value in values],
    ids=lambda odd: f"{odd[0]}-{str(odd[1])[:20]!a}",
)
def test_each_odd_value_among_usual_rows(
    odd: tuple[str, Any], chunks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": f"s{i}", "user_id": "u", "history": ["a"], "target": "b"} for i in range(8)]
    rows[4][odd[0]] = odd[1]
    samples = "".join(json.dumps(row) + "\n" for row in rows).encode()
    assert outcome(samples, None) == row_by_row(samples, None, monkeypatch)
    assert any(chunks)


@pytest.mark.parametrize("broken", BROKEN)
def test_each_broken_line_among_usual_rows(broken: bytes, chunks: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    good = [b'{"id": "s%d", "history": ["a", "b"], "target": 7}' % i for i in range(8)]
    samples = b"\n".join([*good[:4], broken, *good[4:]])
    assert outcome(samples, None) == row_by_row(samples, None, monkeypatch)
    assert any(chunks)


def test_times_that_fall_from_one_sample_to_the_next_are_no_warning(chunks: list[bool]) -> None:
    times: list[list[int | None]] = [[0, 1], [5, 6], [1, 2], [3, 4], [3, None, 0]]
    rows = [
        {"id": f"s{i}", "history": ["a"] * len(at), "target": "b", "history_timestamps": at}
        for i, at in enumerate(times)
    ]
    *_, warnings, _ = outcome("\n".join(map(json.dumps, rows)).encode(), None)
    assert chunks == [True, True]
    assert [text.split(",")[0] for text in warnings] == ["1 of 5 samples have history_timestamps that fall"]


@pytest.mark.parametrize("unit", [None, "ms"])
def test_any_file(unit: TimestampUnit | None, chunks: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: set[str] = set()

    @settings(
        max_examples=60, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), deadline=None, database=None
    )
    @given(lines())
    def agree(found: list[bytes]) -> None:
        samples = b"\n".join(found)
        quick = outcome(samples, unit)
        assert quick == row_by_row(samples, unit, monkeypatch)
        kinds.add("faults" if len(quick) == 2 else "rows")

    agree()
    assert kinds == {"faults", "rows"}
    assert {*chunks} == {True, False}


def test_long_lines_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK_BYTES", 1_000)
    blocks = iter([(1, [b"x" * 400, b"", b" "]), (4, [b"x" * 400]), (5, [b"x" * 400, b"x" * 400, b"x" * 400])])
    found = [([*lines.numbers], len(lines.texts)) for lines in rows._gathered(blocks)]
    assert found == [([1], 1), ([4, 5, 6, 7], 4)]


def test_row_groups_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has several row groups, and single rows between chunks."""
    monkeypatch.setattr(tables, "GROUP_ROWS", 600)
    made: list[dict[str, Any]] = [
        {"id": f"s{i}", "history": ["a", "b"], "target": "ü", "ratings": [i / 3, None]} for i in range(2_050)
    ]
    made[700]["history"] = [7.0, "b"]  # Fine, and not usual.
    samples = "".join(json.dumps(row) + "\n" for row in made).encode()
    assert outcome(samples, "s") == row_by_row(samples, "s", monkeypatch)


KINDS: dict[str, list[pa.DataType]] = {
    "id": [pa.string(), pa.large_string(), pa.int64(), pa.uint64(), pa.float64(), pa.bool_()],
    "user_id": [pa.string(), pa.int32(), pa.null(), pa.dictionary(pa.int8(), pa.string())],
    "history": [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.int64()),
        pa.list_(pa.string(), 2),
    ],
    "target": [pa.string(), pa.int8(), pa.large_string()],
    "timestamp": [pa.float64(), pa.int64(), pa.float32(), pa.timestamp("ns"), pa.timestamp("ms", "UTC"), pa.string()],
    "ratings": [pa.list_(pa.float64()), pa.list_(pa.int16()), pa.list_(pa.float32()), pa.null()],
    "history_timestamps": [pa.list_(pa.float64()), pa.list_(pa.int64()), pa.list_(pa.timestamp("ns"))],
    "split": [pa.string(), pa.large_string()],
    "stars": [pa.int64()],
}
WHEN = [datetime(2300, 1, 1), datetime(2020, 1, 2, 3, 4, 5, 678901), datetime(1969, 12, 31), None]


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values(kind.value_type), min_size=2, max_size=2) | st.none()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.lists(values(kind.value_type), min_size=2, max_size=2) | st.sampled_from([None, []])
    if pa.types.is_timestamp(kind):
        # The latest is beyond what nanoseconds reach.
        return st.sampled_from(WHEN[1:] if kind.tz is None else [when and when.replace(tzinfo=UTC) for when in WHEN])
    if pa.types.is_floating(kind):
        return st.sampled_from([0.0, -0.0, 1.5, 1e9, 3.0e7, float("nan"), float("inf"), None])
    if pa.types.is_integer(kind):
        return st.sampled_from([0, 7, 5, None])
    if pa.types.is_boolean(kind):
        return st.booleans()
    return st.none() if pa.types.is_null(kind) else st.sampled_from(["a", "b", "ü", "nowhere", "", " ", "train", None])


GOOD: dict[str, st.SearchStrategy[Any]] = {
    "history": st.lists(items, min_size=1, max_size=3),
    "target": items,
    "timestamp": times,
    "split": st.sampled_from(["train", None]),
}


@st.composite
def table(draw: st.DrawFn) -> pa.Table:
    """Good rows, with at most two columns of any type that Parquet may bring."""
    count = draw(st.integers(1, 5))
    columns: dict[str, pa.Array] = {"id": pa.array([f"s{row}" for row in range(count)])}
    for name in ("history", "target", *draw(st.sets(st.sampled_from(["timestamp", "split"])))):
        kind = KINDS[name][0]
        columns[name] = pa.array([draw(GOOD[name]) for _ in range(count)], kind)
    if draw(st.booleans()):
        lists = [[draw(times | st.none()) for _ in history] for history in columns["history"].to_pylist()]
        columns["history_timestamps"] = pa.array(
            [draw(st.just(found) | st.none()) for found in lists], KINDS["ratings"][0]
        )
    for name in draw(st.sets(st.sampled_from([*KINDS]), max_size=2)):
        kind = draw(st.sampled_from(KINDS[name]))
        columns[name] = pa.array([draw(values(kind)) for _ in range(count)], kind)
    return pa.table(columns)


def as_parquet(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(rows, file)
    return file.getvalue()


@pytest.mark.parametrize("unit", [None, "ms"])
def test_any_columns(unit: TimestampUnit | None, chunks: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(
        max_examples=8, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), deadline=None, database=None
    )
    @given(table())
    def agree(found: pa.Table) -> None:
        samples = as_parquet(found)
        quick = outcome(samples, unit)
        assert quick == row_by_row(samples, unit, monkeypatch)

    agree()
    assert {*chunks} == {True, False}


def test_columns_and_lines_are_one_content(chunks: list[bool]) -> None:
    made: list[dict[str, Any]] = [
        {
            "id": n,
            "user_id": None if n % 3 else "u",
            "history": ["a", "7"],
            "target": "ü",
            "timestamp": 1_600_000_000 + n,
        }
        | {"ratings": None if n % 5 == 0 else [n / 3, None], "split": ["train", None][n % 2]}
        for n in range(40)
    ]
    lines = outcome("\n".join(map(json.dumps, made)).encode(), None)
    for kind in (pa.int64(), pa.timestamp("s"), pa.timestamp("ns")):
        rows = pa.Table.from_pylist(made)
        place = rows.schema.get_field_index("timestamp")
        times = rows["timestamp"] if kind == pa.int64() else rows["timestamp"].cast(pa.timestamp("s")).cast(kind)
        assert outcome(as_parquet(rows.set_column(place, "timestamp", times)), None) == lines
    assert {*chunks} == {True}


def test_long_rows_come_in_small_batches(chunks: list[bool]) -> None:
    """About 9 MB of ids in one row group."""
    rows = pa.table(
        {"id": [f"s{n}" for n in range(9_000)], "history": [["x" * 256] * 4] * 9_000, "target": ["a"] * 9_000}
    )
    assert outcome(as_parquet(rows), None)[0] == 9_000
    assert len(chunks) >= 3
    assert all(chunks)
