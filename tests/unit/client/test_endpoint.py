"""Base URLs, keys and proxies are checked before anything is sent; what is wrong is said in words."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
import trustme

from minirec.client import APIConnectionError, AsyncMiniRec, ConfigurationError, MiniRec, MiniRecError
from minirec.client.endpoint import is_loopback
from tests.unit.client.scripted_service import Script, problem

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Version(http.server.BaseHTTPRequestHandler):
    """Answers every request with a version."""

    def do_GET(self) -> None:
        body = b'{"version": "1"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def listening(certificate: trustme.LeafCert | None = None) -> Iterator[int]:
    """A server on a free port; yields the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Version)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def version(url: str) -> str:
    with MiniRec(base_url=url, max_retries=0) as client:
        return client.version().version


@pytest.mark.parametrize(
    ("url", "reason", "instead"),
    [
        ("minirec.example", "does not start with http", "http://minirec.example"),
        ("localhost:8000", "does not start with http", "http://localhost:8000"),
        ("[::1]:8000/", "does not start with http", "http://[::1]:8000"),
        ("//host:1", "does not start with http", "http://host:1"),
        ("ftp://host", "'ftp' is not a scheme of HTTP", "http://host"),
        ("http://host:8000/v1", "adds /v1 itself", "http://host:8000"),
        ("https://host/minirec/v1/datasets", "adds /v1 itself", "https://host/minirec"),
        ("http://host:abc", "Invalid port", "http://127.0.0.1:8000"),
        ("http://host:99999", "host or port", "http://127.0.0.1:8000"),
        ("http://", "does not start with http", "http://"),
        ("http://my host", "host or port", "http://127.0.0.1:8000"),
        ("http://host/?a=b", "a query", "http://host"),
        ("http://host/#top", "a fragment", "http://host"),
    ],
)
@pytest.mark.parametrize("kind", [MiniRec, AsyncMiniRec])
def test_a_base_url_that_is_none_is_refused_with_an_example(
    kind: type[MiniRec | AsyncMiniRec], url: str, reason: str, instead: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(base_url=url)
    assert reason in str(caught.value)
    assert instead in str(caught.value).partition("for example ")[2]
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MiniRecError)


@pytest.mark.parametrize(
    "url", ["http://h", " https://h:8443/minirec/ ", "HTTP://h", "http://[::1]:8000", "http://ü.test"]
)
def test_other_base_urls_are_taken(url: str) -> None:
    assert MiniRec(base_url=url).base_url == url.strip().rstrip("/")


def test_a_path_that_begins_like_the_apis_is_a_path() -> None:
    assert MiniRec(base_url="http://h/v1alpha").base_url == "http://h/v1alpha"


@pytest.mark.parametrize("key", ["  secret\n", "secret", "\tsecret \r\n"])
def test_a_key_is_sent_without_the_space_around_it(key: str) -> None:
    service = Script(httpx2.Response(200, json={"version": "1"}))
    service.client(api_key=key).version()
    assert service.requests[0].headers["authorization"] == "Bearer secret"


def test_an_empty_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_API_KEY", " \n")
    service = Script(httpx2.Response(200, json={"version": "1"}))
    service.client(api_key=None).version()
    assert "authorization" not in service.requests[0].headers


@pytest.mark.parametrize(
    ("key", "place", "kind"),
    [
        ("sécrète", 2, "not an ASCII character"),
        ("sec\u2011ret", 4, "not an ASCII character"),
        ("sec ret", 4, "space"),
        ("sec\nret", 4, "space or control character"),
        ("secret\x7f", 7, "control character"),
        ("\u201csecret\u201d", 1, "not an ASCII character"),
    ],
)
def test_a_key_that_no_header_may_hold_is_refused_without_showing_it(key: str, place: int, kind: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MiniRec(api_key=key)
    assert f"character {place} of {len(key)} is" in str(caught.value)
    assert kind in str(caught.value)
    assert key not in str(caught.value)
    assert key.encode("unicode_escape").decode() not in repr(caught.value)


def test_keys_and_passwords_are_not_shown() -> None:
    client = MiniRec(base_url="http://user:hidden@127.0.0.1:1", api_key="secret-key", max_retries=0)
    assert "secret-key" not in repr(client._transport)
    with pytest.raises(APIConnectionError) as caught:
        client.version()
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigurationError) as refused:
        MiniRec(base_url="user:hidden@host")
    assert "127.0.0.1:1" in str(caught.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.8.7.6", "[::1]", "0.0.0.0", "a.localhost", "LocalHost."]
)
def test_this_machine_is_told_by_its_name_or_address(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "128.0.0.1", "localhost.example.org", "[::2]", ""])
def test_other_hosts_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://x"])
def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str) -> None:
    monkeypatch.setenv(variable, proxy)
    with listening() as port:
        assert version(f"http://127.0.0.1:{port}") == "1"
        assert version(f"http://localhost:{port}") == "1"

        async def later() -> str:
            async with AsyncMiniRec(base_url=f"http://127.0.0.1:{port}", max_retries=0) as client:
                return (await client.version()).version

        assert asyncio.run(later()) == "1"


def test_other_hosts_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        assert version("http://minirec.invalid") == "1"


@pytest.mark.parametrize("kind", [MiniRec, AsyncMiniRec])
def test_a_socks_proxy_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, kind: type[MiniRec | AsyncMiniRec]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hidden@127.0.0.1:9")
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'httpx2\[socks\]'") as caught:
        kind(base_url="http://minirec.example")
    assert "ALL_PROXY=socks5://127.0.0.1:9" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_proxy_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"HTTPS_PROXY=gopher://127\.0\.0\.1:9"):
        MiniRec(base_url="http://minirec.example")


def test_https_on_a_port_that_speaks_http_is_said() -> None:
    with listening() as port, pytest.raises(APIConnectionError, match="speaks http, not https") as caught:
        version(f"https://127.0.0.1:{port}/minirec")
    assert f"use http://127.0.0.1:{port}" in str(caught.value)


def test_http_on_a_port_that_speaks_https_is_said() -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    with listening(certificate) as port, pytest.raises(APIConnectionError) as caught:
        version(f"http://127.0.0.1:{port}")
    assert f"use https://127.0.0.1:{port}" in str(caught.value)


def test_a_certificate_that_is_not_trusted_is_said_and_can_be_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = trustme.CA()
    with listening(authority.issue_cert("127.0.0.1")) as port:
        with pytest.raises(APIConnectionError, match="not signed by an authority that this machine trusts"):
            version(f"https://127.0.0.1:{port}")
        file = tmp_path_factory.mktemp("ca") / "ca.pem"
        authority.cert_pem.write_to_path(str(file))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert version(f"https://127.0.0.1:{port}") == "1"


def test_a_redirect_is_said_with_its_target() -> None:
    moved = httpx2.Response(301, headers={"location": "https://minirec.example/version"})
    with pytest.raises(
        MiniRecError, match=r"points to https://minirec\.example/version; use the service's own address"
    ):
        Script(moved).client().version()


def test_an_error_answer_does_not_show_the_key() -> None:
    with pytest.raises(MiniRecError) as caught:
        Script(problem(401)).client(api_key="secret-key").version()
    assert "secret-key" not in str(caught.value)
