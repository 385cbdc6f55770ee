"""A web page cannot drive the service: not under its own name, and not under the service's. Over real HTTP."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from minirec.service.hosts import HostCheck, host_name
from minirec.settings import Settings
from tests.api.conftest import KEY, Service, selection_body
from tests.api.processes import running_service


@pytest.fixture(scope="module")
def without_keys(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running service without keys."""
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(redis_url=redis_url, blob_url=(folder / "blobs").as_uri(), api_keys=())
    with running_service(settings, folder / "log") as url:
        yield url


def status(url: str, method: str, path: str, *, host: str | None = None, body: Any = None, **headers: str) -> int:
    """Send a request as a browser might, and return the answer's status."""
    where = urlsplit(url)
    assert where.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["Host"] = f"127.0.0.1:{where.port}" if host is None else host.replace("PORT", str(where.port))
    try:
        connection.request(method, path, body=body, headers=given)
        response = connection.getresponse()
        response.read()
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return response.status
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["localhost:PORT", "127.0.0.1", "[::1]:PORT", "LOCALHOST:1", "localhost."])
def test_this_machine_is_answered_under_its_own_names(without_keys: str, host: str) -> None:
    assert status(without_keys, "GET", "/v1/datasets", host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebind.evil.example",
        "rebind.evil.example:PORT",
        "localhost.evil.example",
        "evil.example#localhost",
        "user@localhost",
        "127.0.0.1.nip.io",
        "192.168.1.1:PORT",
        "",
        "localhost:port",
    ],
)
@pytest.mark.parametrize("path", ["/v1/datasets", "/version", "/docs", "/openapi.json", "/nothing"])
def test_a_name_that_was_pointed_here_is_refused(without_keys: str, host: str, path: str) -> None:
    assert status(without_keys, "GET", path, host=host) == 403
    assert status(without_keys, "POST", path, host=host, body=b"{}") == 403


MULTIPART = {"Content_Type": "multipart/form-data; boundary=x"}
FILES = b'--x\r\nContent-Disposition: form-data; name="samples"; filename="s"\r\n\r\n{}\r\n--x--\r\n'


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "file://127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_page_can_change_nothing(without_keys: str, page: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/v1/datasets"),
        ("POST", "/v1/selections/sel_1/cancel"),
        ("DELETE", "/v1/datasets/ds_1"),
    ):
        assert status(without_keys, method, path, body=FILES, **MULTIPART, **page) == 403


def test_the_service_s_own_page_and_other_programs_may(without_keys: str) -> None:
    port = urlsplit(without_keys).port
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}
    for page in ({}, own, {"Sec_Fetch_Site": "none"}):
        assert status(without_keys, "POST", "/v1/datasets", body=FILES, **MULTIPART, **page) == 422
    assert status(without_keys, "GET", "/docs", Sec_Fetch_Site="cross-site") == 200, "a link to it"


def test_with_keys_any_name_is_fine_unless_some_are_given(make_service: Callable[..., Service]) -> None:
    open_to_all = make_service()
    assert open_to_all.http.get("/v1/datasets", headers={"Host": "minirec.example"}).status_code == 200
    named = make_service(allowed_hosts="minirec.example, other.example")
    for host, expected in (("minirec.example", 200), ("other.example:8443", 200), ("evil.example", 403)):
        response = named.http.get("/v1/datasets", headers={"Host": host})
        assert response.status_code == expected, host
    assert response.json()["code"] == "host_not_allowed"
    only_here = make_service(allowed_hosts="localhost")
    for host, expected in (("127.0.0.1:80", 200), ("evil.example", 403)):
        assert only_here.http.get("/v1/datasets", headers={"Host": host}).status_code == expected, host
    assert "MINIREC_ALLOWED_HOSTS" in named.http.get("/v1/datasets", headers={"Host": "x"}).json()["detail"]


def test_behind_a_proxy_the_page_may_have_another_scheme_and_an_allowed_name(
    make_service: Callable[..., Service],
) -> None:
    named = make_service(allowed_hosts="minirec.example")
    dataset_id = named.upload(headers={"Host": "localhost"})["id"]
    for host, origin, expected in (
        ("minirec.example", "https://minirec.example", 202),
        ("localhost", "https://minirec.example", 202),
        ("minirec.example", "https://evil.example", 403),
        ("minirec.example", "https://minirec.example.evil.example", 403),
    ):
        headers = {"Host": host, "Origin": origin}
        response = named.http.post("/v1/selections", json=selection_body(dataset_id), headers=headers)
        assert response.status_code == expected, (host, origin)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("server", "keys", "answered"),
    [
        (("127.0.0.1", 80), False, True),
        (("::1", 80), False, True),
        (("/run/minirec.sock", None), False, True),
        (("10.0.0.5", 80), False, False),
        (("fe80::1%eth0", 80), False, False),
        (("10.0.0.5", 80), True, True),
    ],
)
async def test_without_keys_other_machines_are_not_answered(
    server: tuple[str, int | None], keys: bool, answered: bool
) -> None:
    reached: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(200)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reached.append(message["status"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/datasets",
        "scheme": "http",
        "server": server,
        "headers": [(b"host", b"localhost")],
        "state": {"request_id": "r"},
    }
    await HostCheck(app, allowed=(), has_keys=keys)(scope, None, send)  # type: ignore[arg-type]
    assert reached == [200 if answered else 403]


def test_a_service_without_keys_refuses_the_network_it_listens_on(
    make_service: Callable[..., Service], tmp_path: Path
) -> None:
    address = own_address()
    settings = make_service(api_keys=()).settings
    with running_service(settings, tmp_path / "log", host="0.0.0.0") as url:
        port = urlsplit(url).port
        assert port is not None
        for where, expected in ((address, 403), ("127.0.0.1", 200)):
            connection = http.client.HTTPConnection(where, port, timeout=20)
            connection.request("GET", "/version", headers={"Host": "localhost"})
            assert connection.getresponse().status == expected, where
            connection.close()


def own_address() -> str:
    """An address of this machine that is not loopback; the test is skipped where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing.
        except OSError:
            pytest.skip("this machine has no network")
        address = str(probe.getsockname()[0])
    if address.startswith(("127.", "0.")):
        pytest.skip("this machine has no network")
    return address


@contextmanager
def raw(url: str) -> Iterator[socket.socket]:
    where = urlsplit(url)
    with socket.create_connection(("127.0.0.1", where.port or 0), timeout=20) as connection:
        yield connection


def test_a_body_with_two_lengths_is_refused_and_ends_the_connection(without_keys: str) -> None:
    with raw(without_keys) as connection:
        connection.sendall(
            b"POST /v1/selections HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("header", "name"),
    [("A.example:80", "a.example"), ("[::1]:1", "::1"), ("a/b", None), ("a:b", None), ("a:99999", None), ("u@a", None)],
)
def test_the_name_in_a_host_header(header: str, name: str | None) -> None:
    assert host_name(header) == name


def test_a_key_is_still_wanted_whatever_the_page(service: Service) -> None:
    assert service.http.get("/v1/datasets", headers={"Authorization": f"Bearer {KEY}x"}).status_code == 401


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_loads_nothing_from_elsewhere(service: Service, page: str) -> None:
    """People enter their keys there."""
    answer = service.http.get(page, headers={"Authorization": ""})
    assert answer.status_code == 200
    loaded = re.findall(r"""<(?:script|link)[^>]*(?:src|href)=["']([^"']+)""", answer.text)
    assert any(path.endswith(".js") for path in loaded)
    for path in loaded:
        assert path.startswith("/"), path
        assert not path.startswith("//"), path
        assert len(service.http.get(path).content) > 500
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert service.http.get("/v1/datasets").headers["content-security-policy"].startswith("default-src 'none'")
