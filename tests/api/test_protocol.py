"""Requests that stay half sent are closed, on real sockets; whole ones are not, however long they take."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from minirec.service.protocol import ImpatientProtocol
from tests.api.processes import PATIENCE, free_port, wait_until

SECONDS = 0.5
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Quick(ImpatientProtocol):
    half_sent_seconds = SECONDS


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, think for longer than a half-sent request may take, and answer."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    await asyncio.sleep(3 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    server = uvicorn.Server(uvicorn.Config(slow, port=number, http=Quick, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the server")
    yield number
    server.should_exit = True
    thread.join(PATIENCE)


def opened(port: int, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(sent)
    return connection


def closed(connection: socket.socket) -> bool:
    with connection:
        try:
            return connection.recv(100) == b""
        except ConnectionResetError:
            return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\nX-",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_half_sent_requests_are_closed(port: int, sent: bytes) -> None:
    assert all(closed(connection) for connection in [opened(port, sent) for _ in range(50)])


def answered(connection: socket.socket) -> bool:
    answer = b""
    while not answer.endswith(b"ok"):
        piece = connection.recv(1000)
        if not piece:
            return False
        answer += piece
    return answer.startswith(b"HTTP/1.1 200")


def test_whole_requests_are_answered_and_a_half_one_after_them_is_closed(port: int) -> None:
    with opened(port, WHOLE) as connection:
        assert answered(connection)
        connection.sendall(WHOLE)
        assert answered(connection)
        connection.sendall(WHOLE[:9])
        assert closed(connection)


def test_a_body_that_keeps_coming_may_take_longer_in_all(port: int) -> None:
    with opened(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n") as connection:
        for _ in range(9):
            time.sleep(SECONDS / 4)
            connection.sendall(b"x")
        assert answered(connection)
