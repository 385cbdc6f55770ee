"""The same rows get the same verdict as JSONL, as gzip-compressed JSONL and as Parquet."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from minirec.api_schemas import ItemRow, PromptRow, RewardRow, SampleRow
from minirec.data.faults import Faults
from minirec.data.files import DEFAULT_LIMITS
from minirec.data.layouts import Notes
from minirec.data.rows import read_rows

Column = st.SearchStrategy[Any]

blank = st.sampled_from(["", " ", "\u200b", "\u3000\ufeff"])
texts: Column = st.sampled_from(["a", "b", "ü – \u2028", "x" * 257, "7"]) | blank | st.none()
whole: Column = st.integers(-3, 2**40) | st.none()
numbers: Column = st.sampled_from([0.0, 1.5, -2.0, 1e12, float("nan"), float("inf")]) | st.integers(0, 9) | st.none()
truths: Column = st.booleans() | st.none()
times: Column = st.sampled_from([0, 1.5e9, 1.5e12, -1e7]) | st.none()


def lists(of: Column, most: int = 3) -> Column:
    return st.lists(of, max_size=most) | st.none()


turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "system", "assistant", "robot", None]),
        "content": st.sampled_from(["Hi", "", None]),
    },
    optional={"name": st.sampled_from(["bob", None]), "tool_calls": st.none()},
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url"]), "text": st.sampled_from(["Hi", None])},
    optional={"image_url": texts},
)
turns_of_parts = st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(parts, max_size=2)})

good = st.sampled_from(["a", "b", "ü – \u2028", "7"])
good_list = st.lists(good, min_size=1, max_size=3)
ids: list[Column] = [good, texts, texts, whole, numbers, truths]
COLUMNS: dict[type[BaseModel], dict[str, list[Column]]] = {
    SampleRow: {
        "id": ids,
        "history": [good_list, lists(texts), lists(texts), lists(whole), texts],
        "target": ids,
        "user_id": ids,
        "timestamp": [times, numbers, texts],
        "ratings": [st.none(), lists(numbers), whole],
        "history_timestamps": [st.none(), lists(times)],
        "split": [st.sampled_from(["train", "test", None])],
        "stars": [st.none(), whole],
        "__index_level_0__": [whole],
    },
    ItemRow: {
        "item_id": ids,
        "title": [good, texts, texts, whole],
        "price": [whole, numbers, texts],
        "sizes": [lists(whole)],
        "maker": [st.fixed_dictionaries({"name": texts}, optional={"age": whole}) | st.none()],
        "__index_level_0__": [whole],
    },
    PromptRow: {
        "id": ids,
        "prompt": [good, texts, lists(turns), lists(turns), lists(turns_of_parts), lists(texts)],
        "answer": [good, texts, whole, lists(texts), numbers],
        "solution": [good, texts, whole],
        "source": [good, texts],
        "data_source": [good, texts],
        "reward_model": [
            st.fixed_dictionaries({"style": st.just("rule"), "ground_truth": good}) | st.none(),
            st.fixed_dictionaries({"ground_truth": texts}),
            st.fixed_dictionaries({"ground_truth": st.fixed_dictionaries({"target": texts})}),
            st.fixed_dictionaries({"ground_truth": whole}),
        ],
        "extra_info": [
            st.fixed_dictionaries({"index": whole, "split": st.sampled_from(["train", "dev", None])}) | st.none()
        ],
        "level": [whole, numbers],
    },
    RewardRow: {
        "sample_id": ids,
        "reward": [st.lists(st.floats(0, 1), min_size=2, max_size=2), lists(numbers), lists(truths), numbers],
        "hit": [st.none(), lists(truths)],
        "ndcg": [st.lists(st.floats(0, 1), min_size=2, max_size=2), lists(numbers)],
        "note": [texts],
    },
}
OPTIONAL = 0.4
SOUND: dict[type[BaseModel], dict[str, Any]] = {
    SampleRow: {"id": "a", "history": ["b"], "target": "c"},
    ItemRow: {"item_id": "a", "title": "b"},
    PromptRow: {"id": "a", "prompt": "b", "answer": "c"},
    RewardRow: {"sample_id": "a", "reward": [0.0, 1.0]},
}


@st.composite
def files(draw: st.DrawFn, model: type[BaseModel]) -> list[dict[str, Any]]:
    """Draw rows whose columns hold values of one kind each, as far as Parquet can hold them."""
    count = draw(st.integers(1, 4))
    right = draw(st.booleans())  # The first kind of every column is right, the others need not be.
    columns = {}
    for name, kinds in COLUMNS[model].items():
        required = name in model.model_fields and model.model_fields[name].is_required()
        if (right and required) or draw(st.floats(0, 1)) < (0.95 if required else OPTIONAL):
            kind = draw(st.sampled_from(kinds[:1] if right else kinds))
            columns[name] = draw(st.lists(kind, min_size=count, max_size=count))
    return [{name: values[row] for name, values in columns.items()} for row in range(count)]


def verdict(path: Path, model: type[BaseModel]) -> tuple[list[Any], list[Any], Notes]:
    faults, notes = Faults(), Notes()
    # As objects: a struct column has one order of fields, lines may each have their own.
    rows = [
        (line, json.loads(row.model_dump_json()))
        for line, row in read_rows(path, "f", model, faults, DEFAULT_LIMITS, notes=notes)
    ]
    return rows, [(error.line, error.field, error.msg) for error in faults.errors], notes


def write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.table({name: pa.array([row.get(name) for row in rows]) for name in names}), path)


@pytest.mark.slow
@pytest.mark.parametrize("model", COLUMNS, ids=lambda model: model.__name__)
def test_formats_agree_on_rows_and_faults(model: type[BaseModel]) -> None:
    outcomes: set[str] = set()
    sound = SOUND[model]
    phases = (Phase.explicit, Phase.generate)

    @settings(max_examples=12, phases=phases, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(files(model))
    @example([sound, sound | {next(iter(sound)): "z"}])
    @example([sound, sound | {next(iter(sound)): " "}])
    def agree(rows: list[dict[str, Any]]) -> None:
        assume(any(rows))
        with tempfile.TemporaryDirectory() as folder:
            plain, packed, table = (Path(folder) / name for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"))
            text = "".join(json.dumps(row) + "\n" for row in rows).encode()
            plain.write_bytes(text)
            packed.write_bytes(gzip.compress(text))
            try:
                write_parquet(rows, table)
            except pa.ArrowException:
                assume(False)
            as_jsonl, as_parquet = verdict(plain, model), verdict(table, model)
            assert verdict(packed, model) == as_jsonl
        if any(line is None for line, _, _ in as_parquet[1]):  # Said of the whole file, by its columns.
            assert as_jsonl[1]
            outcomes.add("columns")
        else:
            assert as_parquet == as_jsonl
            outcomes.add("faults" if as_jsonl[1] else "rows")

    agree()
    assert {"faults", "rows"} <= outcomes
