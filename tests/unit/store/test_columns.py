"""Columns come back as they went in, or not at all."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from safetensors.numpy import save

from minirec.store import Store
from minirec.store.columns import ROWS_PER_SHARD, Columns, as_shown, pack, shard_field, unpack
from minirec.store.errors import ColumnsCorruptError, ColumnsMissingError, NotFoundError


def columns(rows: int) -> Columns:
    rng = np.random.default_rng(rows)
    return {
        "rewards": rng.random((rows, 4)),
        "hit": rng.integers(0, 2, (rows, 4)).astype(np.uint8),
        "row": np.arange(rows, dtype=np.int64),
        "gate": rng.integers(0, 3, rows).astype(np.int8),
        "group": np.full(rows, -1, dtype=np.int32),
    }


def assert_same(found: Columns, expected: Columns) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def write(store: Store, name: str, stored: Columns) -> int:
    """Store columns as a commit does; returns how many shards they took."""
    writes = store.columns.shards_of(name, stored)
    for key, field, value in writes:
        store.redis.hset(store.prefix + key, field, value)
    return len(writes)


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_packed_columns_come_back_bit_for_bit(rows: int) -> None:
    assert_same(unpack(pack(columns(rows))), columns(rows))


def test_nan_and_infinity_survive() -> None:
    odd = {"x": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])}
    assert unpack(pack(odd))["x"].tobytes() == odd["x"].tobytes()


def test_columns_that_are_views_are_packed_by_value() -> None:
    whole = np.arange(20.0).reshape(10, 2)
    assert_same(unpack(pack({"x": whole[::2, 1]})), {"x": np.array([1.0, 5.0, 9.0, 13.0, 17.0])})


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        pack({"a": np.zeros(2), "b": np.zeros(3)})


@pytest.mark.parametrize("rows", [0, 10, ROWS_PER_SHARD, ROWS_PER_SHARD + 1, 2 * ROWS_PER_SHARD + 5])
def test_stored_columns_come_back_whole_and_in_order(store: Store, rows: int) -> None:
    stored = {"row": np.arange(rows), "score": np.arange(rows) / 7}
    assert write(store, "x", stored) == max(1, -(-rows // ROWS_PER_SHARD))
    assert_same(store.columns.read("x"), stored)


def test_shards_written_out_of_order_are_read_in_order(store: Store) -> None:
    for shard in (11, 2, 0, 1, 3, *range(4, 11)):
        store.redis.hset(f"{store.prefix}columns:x", shard_field(shard), pack({"n": np.array([shard])}))
    assert store.columns.read("x")["n"].tolist() == list(range(12))


def test_shards_that_are_missing_or_corrupt_are_named(store: Store) -> None:
    key = f"{store.prefix}columns:x"
    for shard in range(5):
        store.redis.hset(key, shard_field(shard), pack({"n": np.array([shard])}))
    store.redis.hset(key, shard_field(3), b"\x02" + b"x" * 40)
    with pytest.raises(ColumnsCorruptError, match="fail their checksum") as corrupt:
        store.columns.read("x")
    assert corrupt.value.lost == ("columns:x#3",)
    store.redis.hdel(key, shard_field(1), shard_field(2))
    with pytest.raises(ColumnsMissingError, match="shards 1, 2") as missing:
        store.columns.read("x")
    assert missing.value.lost == ("columns:x#1", "columns:x#2")


@pytest.mark.parametrize(
    "values",
    [
        np.array([], dtype=np.float64),
        np.zeros((0, 4)),
        np.array([True, False, True] * 7),
        np.arange(-5, 300, dtype=np.int32),
        np.array([2**63 - 1, 0, -(2**63)]),
        np.array([5, 3, 9, 10**12]),
        np.array([-1] * 500 + list(range(500)), dtype=np.int32),
        np.repeat(np.array([0.0, -0.0, np.nan, 1 / 3]), 50),
        np.array([0.5, 0.25, 1e300]),
        np.array([0.5, 0.25, -0.0]),
        np.random.default_rng(0).random((100, 3)).astype(np.float32),
        np.array([0, 255, 7], dtype=np.uint8),
        np.array([2**64 - 1, 1], dtype=np.uint64),
        np.arange(6, dtype=np.float16).reshape(3, 2),
    ],
    ids=lambda values: f"{values.dtype}-{values.shape}",
)
def test_every_form_gives_back_bit_for_bit(values: np.ndarray) -> None:
    found = unpack(pack({"x": values}))["x"]
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert found.tobytes() == values.tobytes()


def test_what_release_0_1_packed_is_read() -> None:
    body = save({"score": np.array([0.5, 1 / 3])})
    old = struct.pack("<BIQ", 1, zlib.crc32(body), 2) + body
    assert unpack(old)["score"].tolist() == [0.5, 1 / 3]
    with pytest.raises(ColumnsCorruptError):
        unpack(old[:-1] + b"x")


def test_measured_numbers_are_shown_exactly_where_they_repeat_and_in_float32_elsewhere() -> None:
    repeated = np.repeat([1 / 3, 0.0], 8)
    assert as_shown(repeated) is repeated
    assert as_shown(np.random.default_rng(0).random(16)).dtype == np.float32


def test_columns_that_are_not_there_are_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        store.columns.read("nothing")
    write(store, "x", columns(3))
    store.columns.delete("x")
    with pytest.raises(NotFoundError):
        store.columns.read("x")


@pytest.mark.parametrize("position", [0, 5, 20, 200, -1])
def test_a_flipped_bit_is_noticed(position: int) -> None:
    data = bytearray(pack(columns(10)))
    data[position] ^= 1
    with pytest.raises(ColumnsCorruptError):
        unpack(bytes(data))


@pytest.mark.parametrize("length", [0, 1, 5, 12, 13, 100])
def test_columns_cut_short_are_noticed(length: int) -> None:
    with pytest.raises(ColumnsCorruptError):
        unpack(pack(columns(10))[:length])


def test_a_format_of_the_future_is_named() -> None:
    with pytest.raises(ColumnsCorruptError, match="format 3"):
        unpack(b"\x03" + pack(columns(1))[1:])
