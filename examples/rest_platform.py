"""A training platform that selects over REST, and is told by a webhook when it is done.

    python rest_platform.py samples.jsonl items.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct

It needs the address and the key of a service in MINIREC_BASE_URL and MINIREC_API_KEY, and nothing of MiniRec. The
receiver listens on 127.0.0.1, so the service runs on this machine, with MINIREC_WEBHOOK_PRIVATE_ADDRESSES=true. A real
one listens on an https address that the service reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
from standardwebhooks import Webhook, WebhookVerificationError

PATIENCE_SECONDS = 3600


class Receiver(ThreadingHTTPServer):
    """Takes messages of MiniRec, and nobody else's."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/minirec"
        self.secret: str | None = None
        self.ended: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    """One message."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            # Checks the signature, and that the message is not an old one that somebody sends again.
            Webhook(self.server.secret or "").verify(body, headers)
        except WebhookVerificationError as error:
            self.answer(401, str(error))
            return
        # The same message may come twice: its id is the same then.
        if headers["webhook-id"] not in self.server.seen:
            self.server.seen.add(headers["webhook-id"])
            self.server.ended.put(json.loads(body))
        self.answer(204)

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


def call(http: httpx2.Client, method: str, path: str, **what: Any) -> Any:
    """Return the JSON of an answer; end with what a problem document says where it is one."""
    answer = http.request(method, path, **what)
    if answer.is_error:
        problem = answer.json()
        faults = "".join(f"\n  {fault}" for fault in problem.get("errors", [])[:5])
        sys.exit(f"{problem['status']} {problem['code']}: {problem['detail']}{faults}")
    return answer.json() if answer.content else None


def select(http: httpx2.Client, receiver: Receiver, options: argparse.Namespace) -> list[str]:
    """Upload, select, wait to be told, and return the ids in training order."""
    webhook = call(http, "POST", "/v1/webhooks", json={"url": receiver.url})
    receiver.secret = webhook["secret"]
    try:
        with options.samples.open("rb") as samples, options.items.open("rb") as items:
            dataset = call(http, "POST", "/v1/datasets", files={"samples": samples, "items": items})
        request = {
            "dataset_id": dataset["id"],
            "size": options.size,
            "model": {"source": "local" if options.local else "hub", "id": options.model},
            "rollouts": {"max_new_tokens": options.max_new_tokens},
        }
        # With an idempotency key a request that broke off can be sent again, and starts one job.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        selection = call(http, "POST", "/v1/selections", json=request, headers=headers)
        print(f"started {selection['id']} on {dataset['n_samples']} samples", file=sys.stderr)
        while True:
            message = receiver.ended.get(timeout=PATIENCE_SECONDS)
            print(f"told: {message['type']} {message['data']['id']}", file=sys.stderr)
            if message["data"]["id"] == selection["id"]:
                break
        if message["data"]["status"] != "succeeded":
            sys.exit(json.dumps(call(http, "GET", f"/v1/selections/{selection['id']}")["error"]))
        subset: dict[str, list[str]] = call(http, "GET", f"/v1/selections/{selection['id']}/subset")
        return subset["ids"]
    finally:
        call(http, "DELETE", f"/v1/webhooks/{webhook['id']}")


def main() -> None:
    """Print the ids as JSON."""
    parser = argparse.ArgumentParser(description="Select over REST, and be told by a webhook.")
    parser.add_argument("samples", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument(
        "--model", required=True, help="hub id, or a folder in the service's models folder with --local"
    )
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--size", type=float, default=0.1, help="a part of the pool")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    options = parser.parse_args()
    key = {"Authorization": f"Bearer {os.environ['MINIREC_API_KEY']}"}
    with (
        Receiver() as receiver,
        httpx2.Client(base_url=os.environ["MINIREC_BASE_URL"], headers=key, timeout=60) as http,
    ):
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        print(json.dumps(select(http, receiver, options)))
        receiver.shutdown()


if __name__ == "__main__":
    main()
