"""A Redis behind TLS: the server's own where it was built with TLS, else a TLS relay in front of one that was not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import trustme

from minirec.cli.embedded_redis import EmbeddedRedis, find_server

PASSWORD = "p:w/ü"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def native(folder: Path, certificate: trustme.LeafCert, authority: Path, *, clients: bool) -> Iterator[int | None]:
    """A server that speaks TLS itself; yields its port, or null where it was built without TLS."""
    port = free_port()
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "server.pem"), append=number > 0)
    files = ("--tls-cert-file", folder / "server.pem", "--tls-key-file", folder / "server.key")
    trust = ("--tls-ca-cert-file", authority, "--tls-auth-clients", "yes" if clients else "no")
    command = [find_server(), "--port", "0", "--bind", "127.0.0.1", "--tls-port", str(port), *files, *trust]
    command += ["--dir", folder, "--save", "", "--requirepass", PASSWORD]
    with running(command) as server:
        deadline = time.monotonic() + 20
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                yield port
                return
            time.sleep(0.02)
        yield None


@contextmanager
def relayed(folder: Path, certificate: trustme.LeafCert, authority: Path, *, clients: bool) -> Iterator[int]:
    """A server without TLS behind a relay that speaks it; yields the relay's port."""
    server = EmbeddedRedis(find_server(), folder, free_port(), password=PASSWORD)
    command = [str(server.binary), "--port", str(server.port), "--bind", "127.0.0.1", "--dir", str(folder)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients:
        context.load_verify_locations(str(authority))
        context.verify_mode = ssl.CERT_REQUIRED
    with running([*command, "--save", "", "--requirepass", PASSWORD]), socket.create_server(("127.0.0.1", 0)) as door:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
                break
            time.sleep(0.02)
        threading.Thread(target=accept, args=(door, context, server.port), daemon=True).start()
        yield int(door.getsockname()[1])


@contextmanager
def running(command: list[object]) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, ended with the context."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def accept(door: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Serve each connection in a thread of its own until the door closes."""
    with contextlib.suppress(OSError):
        while True:
            plain, _ = door.accept()
            threading.Thread(target=relay, args=(plain, context, port), daemon=True).start()


def relay(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Carry one connection between a client that speaks TLS and a server that does not."""
    with ExitStack() as stack:
        stack.enter_context(contextlib.suppress(OSError))
        client = stack.enter_context(context.wrap_socket(plain, server_side=True))
        server = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.settimeout(0.05)
        server.settimeout(0.05)
        while True:
            for source, target in ((client, server), (server, client)):
                with contextlib.suppress(TimeoutError):
                    block = source.recv(65_536)
                    if not block:
                        return
                    target.sendall(block)


@contextmanager
def running_logged(
    command: list[str], environment: dict[str, str], sink: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes into a file, ended with the context."""
    process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
