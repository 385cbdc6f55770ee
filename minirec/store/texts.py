"""Texts of rollouts beside the scores: one compressed blob per shard, read for one sample at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from minirec.store.checksums import Arrays

KEYS = ("text_bytes", "text_lengths", "text_cut")
_TEXTS = pa.list_(pa.struct([pa.field("text", pa.string()), pa.field("cut", pa.bool_())]))


@dataclass(frozen=True, slots=True)
class KeptText:
    """The beginning of what a rollout wrote."""

    text: str
    cut: bool
    """Whether it went on."""


def text_arrays(texts: Sequence[Sequence[str]], *, characters: int) -> Arrays:
    """Return texts (B, R) as arrays that belong together, the first `characters` of each.

    Arrays of several batches are joined along their first axis, as those of numbers are: `text_bytes` (total,) has all
    texts in UTF-8 one behind the other, `text_lengths` and `text_cut` (B, R) say how long each is and whether it was
    cut.
    """
    kept = [[text[:characters].encode(errors="replace") for text in row] for row in texts]
    return {
        "text_bytes": np.frombuffer(b"".join(text for row in kept for text in row), np.uint8).copy(),
        "text_lengths": np.array([[len(text) for text in row] for row in kept], np.int32),
        "text_cut": np.array([[len(text) > characters for text in row] for row in texts], np.uint8),
    }


def without_texts(arrays: Arrays) -> Arrays:
    """Return the arrays that are not of `text_arrays`."""
    return {name: values for name, values in arrays.items() if name not in KEYS}


def rows_of(arrays: Arrays, rows: slice) -> Arrays:
    """Return some rows of arrays that belong together, texts among them or not; `rows` has no step."""
    found = {name: values[rows] for name, values in arrays.items() if name != "text_bytes"}
    if "text_bytes" in arrays:
        ends = np.concatenate([[0], np.cumsum(arrays["text_lengths"].sum(axis=1, dtype=np.int64))])
        start, stop, _ = rows.indices(len(ends) - 1)
        found["text_bytes"] = arrays["text_bytes"][ends[start] : ends[max(start, stop)]]
    return found


def encode_texts(arrays: Arrays) -> bytes:
    """Return the texts among arrays as the content of a blob."""
    content = arrays["text_bytes"].tobytes()
    lengths, cut = arrays["text_lengths"], arrays["text_cut"]
    ends = np.cumsum(lengths.ravel(), dtype=np.int64).reshape(lengths.shape)
    rows: list[list[dict[str, Any]]] = [
        [
            {"text": content[end - size : end].decode(), "cut": bool(was_cut)}
            for end, size, was_cut in zip(row_ends.tolist(), row_sizes.tolist(), row_cut.tolist(), strict=True)
        ]
        for row_ends, row_sizes, row_cut in zip(ends, lengths, cut, strict=True)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.table({"texts": pa.array(rows, _TEXTS)}), sink, compression="zstd")
    return sink.getvalue()


def decode_texts(content: bytes, row: int) -> list[KeptText]:
    """Return the texts of one row of a blob. Raises IndexError for a row that is not there."""
    texts = pq.read_table(io.BytesIO(content))["texts"][row].as_py()
    return [KeptText(**text) for text in texts]
