"""Files that people report trouble with: each is read as it is meant, or refused once, by its name."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.data.dataset import Dataset, PromptDataset
from minirec.data.ingest import DatasetError, Ingested, IngestedPrompts, ingest, ingest_prompts

Write = Callable[..., Path]

PROMPTS = [{"id": f"q{n}", "prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(4)]
LINES = [json.dumps(row).encode() for row in PROMPTS]
CATALOGUE = [{"item_id": f"i{n}", "title": f"Title {n}", "year": 1990 + n} for n in range(6)]
SAMPLES = [
    {"id": f"s{n}", "history": [f"i{n}", f"i{n + 1}"], "target": f"i{n + 2}", "user_id": f"u{n % 2}"} for n in range(4)
]
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[[bytes], IngestedPrompts]:
    """Upload a file of prompts with this content."""

    def upload(content: bytes) -> IngestedPrompts:
        (tmp_path / "prompts").write_bytes(content)
        return ingest_prompts(tmp_path / "prompts", tmp_path / "out", name="prompts.jsonl")

    return upload


@pytest.fixture
def faults(prompts: Callable[[bytes], Any]) -> Callable[[bytes], list[str]]:
    """Upload a file of prompts that must be refused; return the messages."""

    def upload(content: bytes) -> list[str]:
        with pytest.raises(DatasetError) as caught:
            prompts(content)
        assert caught.value.total == len(caught.value.errors)
        return [error.msg for error in caught.value.errors]

    return upload


def parquet(rows: list[dict[str, Any]], path: Path, **columns: Any) -> Path:
    table = pa.Table.from_pylist(rows)
    for name, values in columns.items():
        table = table.append_column(name, values)
    pq.write_table(table, path)
    return path


def upload(folder: Path, samples: Path, items: Path, **options: Any) -> Ingested:
    return ingest(samples, items, folder / "stored", **options)


# ---- marks, line ends, kinds of file


@pytest.mark.parametrize(
    "content",
    [
        BOM + b"\r\n".join(LINES),
        BOM + b"\n".join([*LINES[:2], BOM + LINES[2], LINES[3]]),
        gzip.compress(BOM + LINES[0] + b"\n" + BOM + b"\n" + b"\n".join(LINES[1:])),
    ],
    ids=["first-and-crlf", "in-the-middle", "gzip"],
)
def test_a_byte_order_mark_at_the_start_of_a_line_is_no_part_of_it(prompts: Any, content: bytes) -> None:
    assert prompts(content).content_hash == prompts(b"\n".join(LINES)).content_hash


def test_a_byte_order_mark_inside_a_line_is_named(faults: Any) -> None:
    (msg,) = faults(LINES[0] + BOM + LINES[1] + b"\n" + LINES[2])
    assert "byte-order mark (U+FEFF) is inside the line" in msg


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(PROMPTS[0], indent=2).encode(), "one JSON object over several lines"),
        ("\n".join(json.dumps(row, indent=1) for row in PROMPTS).encode(), "one JSON object over several lines"),
        (json.dumps({"data": PROMPTS}, indent=2).encode(), "one JSON object over several lines"),
        (json.dumps({"data": PROMPTS}).encode(), "one JSON object with all rows in its field 'data'"),
        (json.dumps({"version": 2, "rows": PROMPTS}).encode(), "all rows in its field 'rows'"),
        (json.dumps(PROMPTS).encode(), "one JSON array for the whole file"),
        (json.dumps(PROMPTS, indent=2).encode(), "one JSON array for the whole file"),
        (b"id,prompt,answer\nq1,What is 1+1?,2\n", "comma-separated (CSV)"),
        (b'"id";"prompt"\n"q1";"What?"\n', "comma-separated (CSV)"),
        (b"id\tprompt\nq1\tWhat?\n", "tab-separated (TSV)"),
        (b"user_id:token\titem_id:token\trating:float\nA1\t0001\t5.0\n", "a RecBole atomic file"),
        (b"<!DOCTYPE html>\n<html>\n", "HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "Git LFS pointer"),
        (b"\n".join(LINES).decode().encode("utf-16"), "UTF-16"),
        (b"\n".join(LINES).decode().encode("utf-16-le"), "UTF-16"),
        (gzip.compress(b"\n".join(LINES).decode().encode("utf-16")), "UTF-16"),
        (gzip.compress(gzip.compress(b"\n".join(LINES))), "gzip inside gzip"),
        (b"\n".join(repr(row).encode() for row in PROMPTS), "double quotes"),
        (b"".join(LINES), "several objects are on one line"),
        (b"\r".join(LINES), "carriage returns alone"),
        (b"\n".join(json.dumps({**row, "prompt": f"É{n}"}, ensure_ascii=False).encode("latin-1")
                    for n, row in enumerate(PROMPTS)), "not valid UTF-8"),
        (b"\n".join(json.dumps(row).encode() for row in CATALOGUE), "a file of items, sent as prompts"),
        (b"\n".join(json.dumps(row).encode() for row in SAMPLES), "a file of samples, sent as prompts"),
        (b"\n".join(json.dumps({"id": n, "question": "Why?"}).encode() for n in range(300)), "rename 'question'"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_one_fault_that_names_it(faults: Any, content: bytes, says: str) -> None:
    (msg,) = faults(content)
    assert says in msg


def test_a_tar_archive_inside_gzip_is_named(faults: Any) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("prompts.jsonl")
        info.size = len(LINES[0])
        archive.addfile(info, io.BytesIO(LINES[0]))
    (msg,) = faults(packed.getvalue())
    assert "a tar archive" in msg


def test_one_broken_line_among_good_ones_is_named_by_its_line(tmp_path: Path, write_jsonl: Write) -> None:
    with pytest.raises(DatasetError, match=r"p\.jsonl:3: not valid JSON") as caught:
        ingest_prompts(write_jsonl("p.jsonl", [*LINES[:2], LINES[2][:-9], LINES[3]]), tmp_path / "out")
    assert caught.value.total == 1


# ---- names of files and fields


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_swapped_files_are_said_once_each(tmp_path: Path, write_jsonl: Write, suffix: str) -> None:
    if suffix == "jsonl":
        samples, items = write_jsonl("s.jsonl", SAMPLES), write_jsonl("i.jsonl", CATALOGUE)
    else:
        samples, items = parquet(SAMPLES, tmp_path / "s"), parquet(CATALOGUE, tmp_path / "i")
    with pytest.raises(DatasetError) as caught:
        upload(tmp_path, samples=items, items=samples)
    said = [error.msg.partition(";")[0] for error in caught.value.errors]
    assert said == [
        "the rows have id, history, target: this is a file of samples, sent as items",
        "the rows have item_id, title: this is a file of items, sent as samples",
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_wrong_column_name_is_one_fault_of_the_file(tmp_path: Path, write_jsonl: Write, suffix: str) -> None:
    rows = [{"item_ids": row["item_id"], "title": row["title"]} for row in CATALOGUE]
    items = write_jsonl("i", rows) if suffix == "jsonl" else parquet(rows, tmp_path / "i")
    with pytest.raises(DatasetError) as caught:
        upload(tmp_path, write_jsonl("s", SAMPLES), items)
    (error,) = caught.value.errors
    assert "missing" in error.msg
    assert "rename 'item_ids' if that is it" in error.msg


def test_pandas_index_columns_are_dropped(tmp_path: Path, write_jsonl: Write) -> None:
    pandas = pytest.importorskip("pandas")
    for name, rows in (("s", SAMPLES), ("i", CATALOGUE)):
        frame = pandas.DataFrame(rows)
        frame[frame.index >= 0].set_index(pandas.Index(range(10, 10 + len(rows)), dtype="int64")).to_parquet(
            tmp_path / name, index=True
        )
        assert "__index_level_0__" in pq.read_schema(tmp_path / name).names
    found = upload(tmp_path, tmp_path / "s", tmp_path / "i")
    assert Dataset.open(found.samples_path, found.items_path).items == CATALOGUE
    kept = [row | {"__index_level_0__": 7} for row in CATALOGUE]
    same = ingest(write_jsonl("s.jsonl", SAMPLES), write_jsonl("i.jsonl", kept), tmp_path / "again")
    assert same.content_hash == found.content_hash


# ---- values


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_integer_ids_stand_for_their_decimal_text(tmp_path: Path, write_jsonl: Write, suffix: str) -> None:
    number = {row["item_id"]: n for n, row in enumerate(CATALOGUE)}
    items: list[Any] = [row | {"item_id": number[row["item_id"]]} for row in CATALOGUE]
    samples: list[Any] = [
        {
            "id": n,
            "history": [number[item] for item in row["history"]],
            "target": number[str(row["target"])],
            "user_id": 3.0,
        }
        for n, row in enumerate(SAMPLES)
    ]
    if suffix == "jsonl":
        found = upload(tmp_path, write_jsonl("s", samples), write_jsonl("i", items))
    else:
        found = upload(tmp_path, parquet(samples, tmp_path / "s"), parquet(items, tmp_path / "i"))
    dataset = Dataset.open(found.samples_path, found.items_path)
    assert dataset.sample_json(1) == {"id": "1", "history": ["1", "2"], "target": "3", "user_id": "3"}


def test_a_null_is_no_field_anywhere(prompts: Any) -> None:
    turn = {"role": "user", "content": "What?"}
    plain = {"id": "q", "prompt": [turn], "about": {"a": 1}}
    nulls = {
        "id": "q",
        "prompt": [turn | {"name": None, "tool_calls": None}],
        "answer": None,
        "about": {"a": 1, "b": None},
        "level": None,
    }
    assert prompts(json.dumps(nulls).encode()).content_hash == prompts(json.dumps(plain).encode()).content_hash


def test_parts_of_text_are_joined_and_others_are_refused(prompts: Any, faults: Any, tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "Two", "image_url": None}]
    row = {"id": "q", "prompt": [{"role": "user", "content": parts}]}
    found = prompts(json.dumps(row).encode())
    assert PromptDataset.open(found.path).prompt(0).messages == ({"role": "user", "content": "One\nTwo"},)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "parts.parquet")
    assert ingest_prompts(tmp_path / "parts.parquet", tmp_path / "parts").content_hash == found.content_hash
    parts.append({"type": "image_url", "image_url": "http://localhost/x.png"})
    (msg,) = faults(json.dumps(row).encode())
    assert "pictures and sound are not read" in msg


@pytest.mark.parametrize(
    "field",
    [{"prompt": "\u200b\n"}, {"answer": "\ufeff"}, {"answer": ["4", " "]}, {"id": "\u00a0"}, {"source": "\u2060"}],
)
def test_a_blank_text_is_empty(faults: Any, field: dict[str, Any]) -> None:
    (msg,) = faults(json.dumps(PROMPTS[0] | field).encode())
    assert msg.startswith("is blank")


def test_whole_numbers_are_the_same_however_they_are_written(tmp_path: Path, write_jsonl: Write) -> None:
    samples = write_jsonl("s", SAMPLES)
    rows = [row | {"year": float(str(row["year"]))} for row in CATALOGUE]
    found = upload(tmp_path, samples, parquet(rows, tmp_path / "i"))
    assert Dataset.open(found.samples_path, found.items_path).items == CATALOGUE
    assert "1990.0" not in json.dumps(Dataset.open(found.samples_path, found.items_path).items)


# ---- times

NOON = 1_588_687_728.0


def timed(scale: float = 1, shift: float = 0, history_scale: float | None = None) -> list[dict[str, Any]]:
    by = scale if history_scale is None else history_scale
    return [
        row | {"timestamp": NOON * scale, "history_timestamps": [(NOON - 9e4 + shift) * by, (NOON - 8e4 + shift) * by]}
        for row in SAMPLES
    ]


@pytest.fixture
def stored(tmp_path: Path, write_jsonl: Write) -> Callable[..., tuple[Ingested, Any]]:
    """Upload samples; return the dataset and its first sample."""

    def put(rows: Any, **options: Any) -> tuple[Ingested, Any]:
        samples = rows if isinstance(rows, Path) else write_jsonl("s.jsonl", rows)
        found = upload(tmp_path, samples, write_jsonl("i.jsonl", CATALOGUE), **options)
        return found, Dataset.open(found.samples_path, found.items_path).sample(0)

    return put


@pytest.mark.parametrize(("scale", "unit", "factor"), [(1e3, "ms", "1,000"), (1e6, "us", "1,000,000")])
def test_a_smaller_unit_is_recognised_and_converted_on_request(
    stored: Any, scale: float, unit: str, factor: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        stored(timed(scale))
    assert [(error.field, error.line) for error in caught.value.errors] == [("timestamp", 1), ("history_timestamps", 1)]
    for error in caught.value.errors:
        assert f"in {unit} it is 2020-05-0" in error.msg
        assert f"divide by {factor}, or upload with timestamp_unit {unit}" in error.msg
        assert "the same in 3 more rows" in error.msg
    found, sample = stored(timed(scale), timestamp_unit=unit)
    assert found.warnings == []
    assert sample.timestamp == NOON
    assert found.content_hash == stored(timed())[0].content_hash


def test_two_units_in_one_file_are_refused(stored: Any) -> None:
    with pytest.raises(DatasetError) as caught:
        stored(timed(history_scale=1e3))
    assert [error.field for error in caught.value.errors] == ["history_timestamps"]
    assert "in ms it is 2020" in caught.value.errors[0].msg
    (warning,) = stored(timed(history_scale=1e3), timestamp_unit="ms")[0].warnings
    assert "4 of 4 samples have a history item that is later than the target" in warning


def test_a_history_later_than_its_target_is_counted(stored: Any) -> None:
    rows = timed()
    rows[1:3] = timed(shift=9e5)[1:3]
    (warning,) = stored(rows)[0].warnings
    assert warning.startswith('2 of 4 samples have a history item that is later than the target, the first is "s1"')


def test_a_history_that_falls_is_counted(stored: Any) -> None:
    rows = timed()
    rows[2]["history_timestamps"].reverse()
    (warning,) = stored(rows)[0].warnings
    assert warning.startswith('1 of 4 samples have history_timestamps that fall, the first is "s2"')


def test_seconds_that_are_called_milliseconds_are_warned_of(stored: Any) -> None:
    assert "all times are in 1969 or 1970" in stored(timed(), timestamp_unit="ms")[0].warnings[0]


def test_times_before_1970_are_times(stored: Any) -> None:
    found, sample = stored([row | {"timestamp": -1.5e7, "history_timestamps": [-1.6e7, -1.59e7]} for row in SAMPLES])
    assert (found.warnings, sample.timestamp) == ([], -1.5e7)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_have_their_unit(stored: Any, tmp_path: Path, unit: str) -> None:
    then = datetime.fromtimestamp(NOON - 9e4)
    count = len(SAMPLES)
    when = pa.array([int(NOON) * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]] * count, pa.int64())
    columns = {
        "timestamp": when.cast(pa.timestamp(unit, "UTC")),
        "history_timestamps": pa.array([[then, None]] * count, pa.list_(pa.timestamp(unit))),
    }
    path = parquet(SAMPLES, tmp_path / "times.parquet", **columns)
    _, sample = stored(path)
    assert sample.timestamp == NOON
    assert sample.history_timestamps[1] is None
    with pytest.raises(DatasetError, match="holds datetimes, which have their unit; leave timestamp_unit out"):
        stored(path, timestamp_unit=unit)


# ---- layouts of trainers


def verl_rows() -> list[dict[str, Any]]:
    return [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row["answer"]},
            "extra_info": {"split": "train", "index": n, "answer": "... #### 0"},
        }
        for n, row in enumerate(PROMPTS)
    ]


def test_verl_rows_are_prompts(tmp_path: Path, prompts: Any) -> None:
    found = ingest_prompts(parquet(verl_rows(), tmp_path / "verl.parquet"), tmp_path / "verl")
    prompt = PromptDataset.open(found.path).prompt(2)
    assert (prompt.id, prompt.answer, prompt.source, prompt.split) == ("train-2", "4", "openai/gsm8k", "train")
    assert prompt.extra["ability"] == "math"
    (warning,) = found.warnings
    assert "answer from reward_model.ground_truth (4 rows)" in warning
    assert "id from extra_info (4 rows)" in warning
    as_jsonl = prompts("\n".join(map(json.dumps, verl_rows())).encode())
    assert as_jsonl.content_hash == found.content_hash


def test_a_row_keeps_what_it_says_itself(prompts: Any) -> None:
    row = verl_rows()[1] | {"id": "mine", "answer": "my answer", "source": "my source", "split": "test"}
    prompt = PromptDataset.open(prompts(json.dumps(row).encode()).path).prompt(0)
    assert (prompt.id, prompt.answer, prompt.source, prompt.split) == ("mine", "my answer", "my source", "test")


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"solution": "7"}, "7"),
        ({"ground_truth": ["7", "seven"]}, ["7", "seven"]),
        ({"reward_model": {"ground_truth": {"target": ["B1", "B2"]}}}, ["B1", "B2"]),
        ({"reward_model": {"ground_truth": 7}}, "7"),
        ({"reward_model": {"style": "model"}}, None),
        ({"solution": '["A", "B"]', "minirec_id": "q0"}, ["A", "B"]),
        ({"solution": '["A", "B"]'}, '["A", "B"]'),
    ],
)
def test_right_answers_are_found_where_trainers_keep_them(prompts: Any, fields: dict[str, Any], answer: Any) -> None:
    row = {"id": "q0", "prompt": "What?"} | fields
    assert PromptDataset.open(prompts(json.dumps(row).encode()).path).prompt(0).answer == answer
