"""A scripted service: answers what the test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import httpx2

from minirec.client import AsyncMiniRec, MiniRec
from tests.unit.client.driven import Driven

Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


class Chunks(httpx2.AsyncByteStream):
    """The body of an answer, for the asynchronous client."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


class Script:
    """Answers in order; the last one again and again."""

    runner: asyncio.Runner | None = None
    """Where set, `client` is an asynchronous one that runs here (see the fixture `both_clients`)."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.pauses: list[float] = []
        self.now = 0.0

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            if isinstance(answer, httpx2.RequestError):
                answer.request = request
            raise answer
        return answer(request) if callable(answer) else answer

    async def handle_later(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        response = self.handle(request)
        if response.is_stream_consumed:  # an answer of the script may be given again
            return httpx2.Response(response.status_code, headers=response.headers, content=response.content)
        assert isinstance(response.stream, Iterable)
        return httpx2.Response(response.status_code, headers=response.headers, stream=Chunks(response.stream))

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def pause_later(self, seconds: float) -> None:
        self.pause(seconds)

    def client(self, **options: Any) -> MiniRec:
        options = {"base_url": "http://service.test", "api_key": "secret"} | options
        if self.runner is not None:
            transport = httpx2.MockTransport(self.handle_later)
            later = AsyncMiniRec(http_client=httpx2.AsyncClient(transport=transport), **options)
            later._attach(replace(later._transport, sleep=self.pause_later, clock=lambda: self.now))
            return Driven(self.runner, later)  # type: ignore[return-value]
        client = MiniRec(http_client=httpx2.Client(transport=httpx2.MockTransport(self.handle)), **options)
        client._attach(replace(client._transport, sleep=self.pause, clock=lambda: self.now))
        return client


def selection_json(status: str = "queued", **changes: Any) -> dict[str, Any]:
    body = {
        "id": "sel_1",
        "status": status,
        "dataset_id": "ds_1",
        "request": {"dataset_id": "ds_1", "model": {"source": "hub", "id": "org/model"}, "size": 8},
        "created_at": 1.0,
    }
    return body | changes


def training_job_json(status: str = "queued", **changes: Any) -> dict[str, Any]:
    body = {
        "id": "trn_1",
        "status": status,
        "dataset_id": "ds_1",
        "request": {"selection_id": "sel_1", "model": {"source": "hub", "id": "org/model"}},
        "created_at": 1.0,
    }
    return body | changes


def evaluation_json(status: str = "queued", **changes: Any) -> dict[str, Any]:
    body = {
        "id": "evl_1",
        "status": status,
        "dataset_id": "ds_1",
        "request": {"dataset_id": "ds_1", "model": {"source": "hub", "id": "org/model"}},
        "created_at": 1.0,
    }
    return body | changes


def problem(status: int, code: str = "some_code", **changes: Any) -> httpx2.Response:
    body = {"title": "T", "status": status, "detail": "what was wrong", "code": code, "request_id": "req_7"} | changes
    return httpx2.Response(status, json=body, headers={"content-type": "application/problem+json"})


def sse(*events: dict[str, Any]) -> bytes:
    lines = [": ping\n\n"]
    lines += [f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "".join(lines).encode()


def event_json(number: int, type: str = "progress", **data: Any) -> dict[str, Any]:
    return {"id": str(number), "type": type, "job_id": "sel_1", "at": 1.0, "data": data}
