"""A damaged end of the append-only file, on a real server's file."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from minirec.cli.append_only import cut_zeros, newest_file
from minirec.cli.embedded_redis import EmbeddedRedis, find_server


@contextmanager
def server(folder: Path) -> Iterator[redis.Redis]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    embedded = EmbeddedRedis(find_server(), folder, port)
    process = subprocess.Popen(embedded.command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(embedded.configuration())
    process.stdin.close()
    try:
        deadline = time.monotonic() + 20
        while not embedded.answers():
            assert process.poll() is None, "it does not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with redis.Redis.from_url(embedded.url) as connection:
            yield connection
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with a server's file: 50 keys and a transaction."""
    with server(tmp_path) as connection:
        for n in range(50):
            connection.set(f"k{n}", n)
        pipe = connection.pipeline(transaction=True)
        pipe.set("a", 1)
        pipe.set("b", 2)
        pipe.execute()
    return tmp_path


def newest(folder: Path) -> Path:
    path = newest_file(folder)
    assert path is not None
    return path


def test_zeros_at_the_end_are_cut_off_and_nothing_else_is_lost(written: Path) -> None:
    path = newest(written)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(4096))
    with pytest.raises(AssertionError, match="does not start"), server(written):
        pass
    copy = cut_zeros(written)
    assert copy is not None
    assert copy.read_bytes() == whole + bytes(4096)
    assert path.read_bytes() == whole
    with server(written) as connection:
        assert connection.dbsize() == 52


def test_a_transaction_that_is_not_whole_is_cut_off_with_the_zeros(written: Path) -> None:
    path = newest(written)
    whole = path.read_bytes()
    begun = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n3\r\n"
    path.write_bytes(whole + begun + bytes(100))
    assert cut_zeros(written) is not None
    assert path.read_bytes() == whole


@pytest.mark.parametrize("tail", [b"", b"garbage\r\n", bytes(64) + b"*1\r\n$4\r\nPING\r\n"])
def test_a_file_that_is_whole_or_damaged_otherwise_is_left_alone(written: Path, tail: bytes) -> None:
    path = newest(written)
    damaged = path.read_bytes() + tail
    path.write_bytes(damaged)
    assert cut_zeros(written) is None
    assert path.read_bytes() == damaged
