"""TLS to Redis is verified alike by the store, by the event streams and by the broker, from the same address."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis.asyncio
import redis.exceptions
import trustme
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from minirec.settings import Settings
from minirec.store import connect
from minirec.store.doorbell import CeleryRing, celery_app
from minirec.store.machine import Doorbell
from tests.unit.store import tls

REFUSED = (redis.exceptions.ConnectionError, OperationalError, OSError)


@dataclass(frozen=True)
class Server:
    """A Redis behind TLS, and the files that its clients may name."""

    port: int
    authority: Path
    other_authority: Path
    client: Path
    client_key: Path

    def url(self, query: str = "", *, host: str = "127.0.0.1") -> str:
        """Its address; `{name}` in a query is one of the files."""
        files = {"ca": self.authority, "other": self.other_authority, "cert": self.client, "key": self.client_key}
        return f"rediss://:{quote(tls.PASSWORD, safe='')}@{host}:{self.port}/0" + query.format(**files)


def serve(kind: str, folder: Path, *, clients: bool) -> Iterator[Server]:
    authority, other = trustme.CA(), trustme.CA()
    files = {name: folder / name for name in ("ca.pem", "other.pem", "client.pem", "client.key")}
    authority.cert_pem.write_to_path(str(files["ca.pem"]))
    other.cert_pem.write_to_path(str(files["other.pem"]))
    client = authority.issue_cert("worker@minirec.test")
    client.cert_chain_pems[0].write_to_path(str(files["client.pem"]))
    client.private_key_pem.write_to_path(str(files["client.key"]))
    start: Callable[..., Any] = tls.native if kind == "native" else tls.relayed
    with start(folder, authority.issue_cert("127.0.0.1"), files["ca.pem"], clients=clients) as port:
        if port is None:
            pytest.skip("the server on this machine was built without TLS; the relay stands in for it")
        yield Server(port, *files.values())


@pytest.fixture(scope="module", params=["native", "relay"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose certificate is for 127.0.0.1."""
    yield from serve(request.param, tmp_path_factory.mktemp("tls"), clients=False)


@pytest.fixture(scope="module", params=["native", "relay"])
def server_of_known_clients(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that wants a certificate of its clients."""
    yield from serve(request.param, tmp_path_factory.mktemp("mtls"), clients=True)


def settings(url: str, folder: Path, **changes: Any) -> Settings:
    return Settings(redis_url=url, blob_url=folder.as_uri(), **changes)


def from_store(given: Settings) -> None:
    assert connect(given, ring=lambda doorbells: None).redis.ping()


def from_stream(given: Settings) -> None:
    async def ping() -> None:
        async with redis.asyncio.Redis.from_url(given.redis_url, socket_timeout=5) as connection:
            assert await connection.ping()

    asyncio.run(ping())


def from_broker(given: Settings) -> None:
    app = celery_app(given)
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
            with connection.channel() as channel:
                channel.client.ping()
    finally:
        app.close()


EVERYBODY = pytest.mark.parametrize("reach", [from_store, from_stream, from_broker])


@EVERYBODY
@pytest.mark.parametrize(
    "query",
    [
        "?ssl_ca_certs={ca}",
        "?ssl_ca_certs={ca}&ssl_cert_reqs=required",
        "?ssl_ca_certs={ca}&ssl_cert_reqs=CERT_REQUIRED",
        "?ssl_cert_reqs=optional&ssl_ca_certs={ca}&ssl_check_hostname=True",
        "?ssl_cert_reqs=none",
        "?ssl_cert_reqs=CERT_NONE&ssl_ca_certs={other}",
    ],
)
def test_a_documented_form_connects(
    server: Server, tmp_path: Path, reach: Callable[[Settings], None], query: str
) -> None:
    reach(settings(server.url(query), tmp_path))


@EVERYBODY
def test_the_systems_authorities_are_trusted(
    server: Server, tmp_path: Path, reach: Callable[[Settings], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(REFUSED, match="certificate verify failed"):
        reach(settings(server.url(), tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    reach(settings(server.url(), tmp_path))


@EVERYBODY
@pytest.mark.parametrize(
    "query", ["", "?ssl_ca_certs={other}", "?ssl_cert_reqs=required", "?ssl_ca_certs={other}&ssl_check_hostname=false"]
)
def test_another_authority_is_refused(
    server: Server, tmp_path: Path, reach: Callable[[Settings], None], query: str
) -> None:
    with pytest.raises(REFUSED, match="certificate verify failed"):
        reach(settings(server.url(query), tmp_path))


@EVERYBODY
def test_another_host_is_refused_unless_its_name_does_not_matter(
    server: Server, tmp_path: Path, reach: Callable[[Settings], None]
) -> None:
    with pytest.raises(REFUSED, match="localhost"):
        reach(settings(server.url("?ssl_ca_certs={ca}", host="localhost"), tmp_path))
    reach(settings(server.url("?ssl_ca_certs={ca}&ssl_check_hostname=false", host="localhost"), tmp_path))


@EVERYBODY
def test_a_client_may_have_to_show_a_certificate(
    server_of_known_clients: Server, tmp_path: Path, reach: Callable[[Settings], None]
) -> None:
    reach(settings(server_of_known_clients.url("?ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}"), tmp_path))
    with pytest.raises(REFUSED):
        reach(settings(server_of_known_clients.url("?ssl_ca_certs={ca}"), tmp_path))


def test_the_broker_may_be_another_server_with_tls(server: Server, redis_url: str, tmp_path: Path) -> None:
    from_broker(settings(redis_url, tmp_path, broker_url=server.url("?ssl_ca_certs={ca}")))
    with pytest.raises(REFUSED, match="certificate verify failed"):
        from_broker(settings(redis_url, tmp_path, broker_url=server.url("?ssl_ca_certs={other}")))


def work(server: Server, folder: Path, query: str) -> Iterator[str]:
    """A real worker; yields its log until it has ended."""
    log = folder / "worker.log"
    url = server.url(query)
    environment = os.environ | {"MINIREC_REDIS_URL": url, "MINIREC_BLOB_URL": folder.as_uri()}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "minirec.worker.app",
        "worker",
        "-Q",
        "cpu",
        "-c",
        "1",
        "-n",
        "tls@%h",
    ]
    with log.open("wb") as sink, tls.running_logged(command, environment, sink) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            yield log.read_text()
    yield log.read_text()


@pytest.mark.slow
def test_a_worker_hears_the_doorbell_over_tls_and_only_from_the_right_server(server: Server, tmp_path: Path) -> None:
    given = settings(server.url("?ssl_ca_certs={ca}"), tmp_path)
    ring = CeleryRing(celery_app(given), time_limit=60)
    ring([Doorbell("cpu", "no-such-group", 0)])
    assert ring.waiting()["cpu"] == 1
    assert any("certificate verify failed" in text for text in work(server, tmp_path, "?ssl_ca_certs={other}"))
    assert ring.waiting()["cpu"] == 1
    assert any(ring.waiting()["cpu"] == 0 for _ in work(server, tmp_path, "?ssl_ca_certs={ca}"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://:hidden@h", "should begin with redis://, rediss:// (TLS) or unix://"),
        ("redis://:hidden@h?ssl_ca_certs=/x", "does not ask for TLS; begin it with rediss://"),
        ("rediss://:hidden@h?ssl_ca_certs=/no/such.pem", "ssl_ca_certs=/no/such.pem, and there is no such file"),
        ("rediss://:hidden@h?ssl_cacerts=/x", "the unknown option ssl_cacerts; known are ssl_ca_certs"),
        ("rediss://:hidden@h?ssl_cert_reqs=maybe", "ssl_cert_reqs=maybe; it is one of none, optional, required"),
        ("rediss://:hidden@h?ssl_check_hostname=perhaps", "it is true or false"),
        ("redis://:hidden@h:port", "is not an address"),
    ],
)
@pytest.mark.parametrize("field", ["redis_url", "broker_url"])
def test_an_address_that_is_none_is_named_without_its_password(field: str, url: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({field: url})
    assert words in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0", "redis://:p%3Aw@h/3?health_check_interval=30", "unix:///run/redis.sock?db=2"]
)
def test_an_address_without_tls_stays_as_it_is(url: str) -> None:
    assert Settings(redis_url=url).redis_url == url
