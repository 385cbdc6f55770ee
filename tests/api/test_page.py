"""The page: who may open it, what it escapes, and what it shows without JavaScript."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import minirec.service.page
from minirec.service import sessions
from minirec.service.page.commands import commands
from minirec.service.page.new import read
from minirec.service.page.sign_in import own_path
from minirec.service.page.templating import embedded, span
from tests.api.conftest import KEY, Service
from tests.api.stand_in import StandIn, TrainingStandIn

STATIC = Path(minirec.service.page.__file__).parent / "static"
UPLOT = {
    # uPlot 1.6.32, as the npm registry has it.
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{9091*9091}}"


class Elements(HTMLParser):
    """Names and attributes of a page's elements, and its text outside of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside != "script":
            self.text += data


@pytest.fixture
def browser(service: Service) -> TestClient:
    """A browser that has signed in: it has a cookie and no header."""
    client = TestClient(service.app, base_url="http://localhost:8000", raise_server_exceptions=False)
    answer = client.post("/sign-in", data={"key": KEY, "next": "/datasets"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/datasets")
    return client


def finished(service: Service, **changes: Any) -> str:
    """A finished selection."""
    selection_id = str(service.select(service.upload()["id"], **changes)["id"])
    StandIn(service.store, selection_id, scoring=f"score:{selection_id}").finish()
    return selection_id


def hostile_dataset(service: Service) -> str:
    """A dataset whose names, ids, titles and texts are an attack."""
    items = [{"item_id": f"m{n}", "title": f"{HOSTILE} {n}"} for n in range(3)]
    samples = [{"id": f"{HOSTILE} s{n}", "history": ["m0", "m1"], "target": "m2"} for n in range(48)]
    files = {
        name: (f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for name, rows in (("samples", samples), ("items", items))
    }
    answer = service.http.post("/v1/datasets", files=files, data={"name": HOSTILE})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_the_chart_library_is_the_one_that_was_published() -> None:
    found = {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest() for name in UPLOT}
    assert found == UPLOT


def test_who_has_not_signed_in_is_led_to_where_they_can(service: Service) -> None:
    client = TestClient(service.app, base_url="http://localhost:8000")
    answer = client.get("/jobs/sel_1/samples?order=score", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fjobs%2Fsel_1%2Fsamples%3Forder%3Dscore"
    assert "Key" in client.get(answer.headers["location"]).text
    wrong = client.post("/sign-in", data={"key": "wrong"}, follow_redirects=False)
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)


def test_the_cookie_is_no_key_and_out_of_reach_of_scripts(service: Service) -> None:
    client = TestClient(service.app, base_url="https://localhost:8000")
    answer = client.post("/sign-in", data={"key": KEY}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("minirec-8000=")
    assert {"HttpOnly", "Path=/", "SameSite=strict", "Secure"} <= set(cookie.split("; "))
    assert KEY not in cookie
    stored = [service.store.redis.get(name) for name in service.store.redis.scan_iter("*session*")]
    assert len(stored) == 1
    assert KEY not in repr(stored)


def test_a_session_reads_pages_and_the_api(browser: TestClient) -> None:
    assert browser.get("/").status_code == 200
    assert browser.get("/v1/selections").status_code == 200
    assert browser.get("/v1/selections", headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost:8000"}, 204),
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://localhost:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_only_pages_of_this_service_change_things_with_a_session(
    service: Service, browser: TestClient, headers: dict[str, str], status: int
) -> None:
    selection_id = finished(service)
    answer = browser.delete(f"/v1/selections/{selection_id}", headers=headers)
    assert answer.status_code == status, answer.text
    posted = browser.post(f"/jobs/{finished(service)}/delete", headers=headers, follow_redirects=False)
    assert posted.status_code == (303 if status == 204 else 403)


def test_a_session_ends_with_signing_out_with_its_key_and_with_time(
    make_service: Callable[..., Service], service: Service, browser: TestClient
) -> None:
    token = next(iter(browser.cookies.values()))
    others = make_service(api_keys=("another-key-0123456789",))
    elsewhere = TestClient(others.app, base_url="http://localhost:8000", cookies=dict(browser.cookies))
    assert elsewhere.get("/v1/selections").status_code == 401
    assert 0 < service.store.redis.ttl(sessions._name(service.store, token)) <= 12 * 3600
    browser.post("/sign-out", headers={"Origin": "http://localhost:8000"})
    again = TestClient(service.app, base_url="http://localhost:8000", cookies={"minirec-8000": token})
    assert again.get("/v1/selections").status_code == 401


def test_a_session_has_the_scope_and_the_tenant_of_its_key(service: Service) -> None:
    made = service.http.post("/v1/keys", json={"name": "reader", "scope": "read", "tenant": "other"}).json()
    theirs = finished(service)
    client = TestClient(service.app, base_url="http://localhost:8000")
    client.post("/sign-in", data={"key": made["key"]})
    assert theirs not in client.get("/").text
    for path in ("", "/samples", "/sample?id=s000", "/compare"):
        assert client.get(f"/jobs/{theirs}{path}").status_code == 404
    assert client.get("/workers").status_code == 403
    own = {"Origin": "http://localhost:8000"}
    assert client.post("/new", data={"dataset_id": "ds_1", "size": "3"}, headers=own).status_code == 403
    service.http.delete(f"/v1/keys/{made['id']}")
    assert client.get("/", follow_redirects=False).status_code == 303


def test_a_service_without_keys_needs_no_session(make_service: Callable[..., Service]) -> None:
    service = make_service(api_keys=())
    client = TestClient(service.app, base_url="http://127.0.0.1:8000")
    assert client.get("/").status_code == 200
    answer = client.post("/sign-in", data={"key": "whatever"}, follow_redirects=False)
    assert (answer.status_code, "set-cookie" in answer.headers) == (303, False)


def test_an_adapter_that_changes_nothing_is_shown_with_a_warning(service: Service, browser: TestClient) -> None:
    training_id = service.train(service.upload()["id"])["id"]
    TrainingStandIn(service.store, training_id, warning="the adapter is the start itself").finish()
    assert '<p class="warning">the adapter is the start itself</p>' in browser.get(f"/jobs/{training_id}").text


def test_pages_run_nothing_inline_and_nothing_from_elsewhere(service: Service, browser: TestClient) -> None:
    selection_id = finished(service)
    training_id = service.train(service.upload()["id"])["id"]
    TrainingStandIn(service.store, training_id).finish()
    pages = ["/", "/new", "/datasets", "/workers", "/sign-in", "/jobs/sel_0", f"/jobs/{training_id}"]
    pages += [f"/jobs/{selection_id}{path}" for path in ("", "/samples", "/sample?id=s000", "/compare")]
    for path in pages:
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        for tag, attributes in Elements(answer.text).found:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (path, tag)
            for name in ("src", "href", "action"):
                assert not (attributes.get(name) or "").startswith(("http", "//", "javascript:")), (path, tag)
            assert tag != "style"
            if tag == "script":
                assert attributes.get("src") or attributes.get("type") == "application/json", path
    report = browser.get(f"/v1/selections/{selection_id}/report")
    assert report.headers["content-security-policy"].startswith("sandbox")
    assert report.headers["content-disposition"].startswith("attachment")
    assert "https://" not in re.sub(
        r"<script>.*?</script>|<style>.*?</style>|<pre.*?</pre>", "", report.text, flags=re.S
    )


def test_what_people_uploaded_is_text_and_never_markup(service: Service, browser: TestClient) -> None:
    dataset_id = hostile_dataset(service)
    selection_id = service.select(dataset_id, metadata={"note": HOSTILE})["id"]
    StandIn(service.store, selection_id).finish()
    sample = f"/jobs/{selection_id}/sample"
    hostile_id = f"{HOSTILE} s0"
    answers = [
        browser.get(path)
        for path in (
            "/",
            "/datasets",
            f"/datasets/{dataset_id}",
            f"/new?dataset_id={dataset_id}&model={HOSTILE}&size={HOSTILE}&more={HOSTILE}",
            f"/jobs/{selection_id}",
            f"/jobs/{selection_id}/samples",
            f"/v1/selections/{selection_id}/report",
        )
    ]
    answers += [browser.get(sample, params={"id": hostile_id}), browser.get(sample, params={"id": HOSTILE})]
    for answer in answers:
        found = Elements(answer.text)
        assert not [tag for tag, attributes in found.found if tag == "img" or "onerror" in attributes], answer.url
        assert answer.text.count("<script>alert") == 0, answer.url
        assert "82646281" not in answer.text, "a template ran"
    for answer in answers[:3]:
        assert HOSTILE in Elements(answer.text).text
    charts = re.search(r"data-charts>(.*?)</script>", answers[4].text, re.S)
    assert charts is not None
    assert hostile_id in json.loads(charts[1])["points"]["ids"]


def test_embedded_data_cannot_end_its_script() -> None:
    text = embedded({"a": "</script>&<!--", "b": "\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script>&<!--", "b": "\u2028"}


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/jobs/sel_1?a=b", "/jobs/sel_1?a=b"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(path: str, leads_to: str) -> None:
    assert own_path(path) == leads_to


def test_errors_are_pages_in_words(browser: TestClient) -> None:
    missing = browser.get("/jobs/sel_0")
    assert (missing.status_code, "there is no selection sel_0" in missing.text) == (404, True)
    assert browser.get("/jobs/nonsense").status_code == 404
    assert browser.get("/?kind=selection&after=sel_0").status_code == 422
    own = {"Origin": "http://localhost:8000"}
    refused = browser.post("/datasets", files={"samples": ("a.jsonl", "{}\n"), "items": ("b", "{}\n")}, headers=own)
    assert refused.status_code == 422
    assert "line 1" in Elements(refused.text).text


def test_a_selection_is_readable_without_javascript(service: Service, browser: TestClient) -> None:
    selection_id = finished(service, baselines=["random"])
    text = Elements(browser.get(f"/jobs/{selection_id}").text).text
    assert "Of 48 samples, the 6 most worth training on were picked" in text
    assert "Mean reward in training order" in text
    listed = browser.get(f"/jobs/{selection_id}/samples?picked=true&order=rank&reward_min=&gate=")
    assert [Elements(listed.text).text.count(name) for name in ("s000", "s035", "s001")] == [1, 1, 0]
    assert "number 1" in browser.get(f"/jobs/{selection_id}/sample?id=s000").text


def test_samples_come_in_pages(service: Service, browser: TestClient) -> None:
    selection_id = finished(service)
    first = browser.get(f"/jobs/{selection_id}/samples?order=pool&ascending=true&start=40").text
    assert "s007" in Elements(first).text
    assert 'rel="prev"' in first
    assert 'rel="next"' not in first


def test_two_selections_are_compared(service: Service, browser: TestClient) -> None:
    dataset_id = service.upload()["id"]
    ids = []
    for _ in range(2):
        ids.append(service.select(dataset_id)["id"])
        StandIn(service.store, ids[-1], scoring=f"score:{len(ids)}").finish()
    found = Elements(browser.get(f"/jobs/{ids[0]}/compare?with={ids[1]}").text).text
    assert "6 samples are in both" in found
    assert browser.get(f"/jobs/{ids[0]}/compare?with={finished(service, size=5)}").status_code in (200, 422)
    assert browser.get(f"/jobs/{ids[0]}/compare?with=nobody").status_code == 404


def test_the_form_says_what_it_asks_for_and_starts_it(service: Service, browser: TestClient) -> None:
    dataset_id = service.upload()["id"]
    form = {
        "dataset_id": dataset_id,
        "source": "local",
        "model": "tiny",
        "size": "25%",
        "group_size": "8",
        "baselines": ["random", "kmeans"],
        "more": '{"rollouts": {"temperature": 0.5}}',
        "proxy_updates": "",
    }
    shown = Elements(browser.get("/new", params=form).text).text
    assert "12 of 48 samples. 384 rollouts" in shown
    assert "--set rollouts.temperature=0.5" in shown
    started = browser.post("/new", data=form, headers={"Origin": "http://localhost:8000"}, follow_redirects=False)
    assert started.status_code == 303, started.text
    job = service.http.get(f"/v1/selections/{started.headers['location'].rpartition('/')[2]}").json()
    assert job["request"]["size"] == 0.25
    assert job["request"]["rollouts"]["group_size"] == 8
    assert job["request"]["rollouts"]["temperature"] == 0.5
    assert job["request"]["baselines"] == ["random", "kmeans"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"size": "many"}, "is not a number of samples (256) or a part of the pool"),
        ({"size": "0"}, "size: should be greater than 0"),
        ({"group_size": "x"}, "is not a whole number"),
        ({"more": "{"}, "are not valid JSON"),
        ({"more": "[]"}, "should be a JSON object"),
        ({"more": '{"nonsense": 1}'}, "nonsense: is not a known field"),
        ({"model": ""}, "model is missing"),
    ],
)
def test_faults_in_the_form_are_told(browser: TestClient, changes: dict[str, str], fault: str) -> None:
    form = {"dataset_id": "ds_1", "source": "hub", "model": "a/b", "size": "3"} | changes
    answer = browser.get("/new", params=form)
    assert answer.status_code == 200
    assert fault in Elements(answer.text).text


def test_the_same_request_elsewhere_is_the_same_request() -> None:
    class Given(dict[str, Any]):
        def getlist(self, name: str) -> list[str]:
            return list(self.get(name, []))

    body, faults = read(Given(dataset_id="ds_1", source="hub", model="a/b", size="10%", proxy_updates="30"))  # type: ignore[arg-type]
    assert faults == []
    assert body is not None
    found = commands(body, "http://localhost:8000")
    assert found["cli"] == "minirec select --dataset ds_1 --size 0.1 --model a/b --hub --set proxy.updates=30"
    compile(found["sdk"], "sdk", "exec")
    sent = re.search(r"-d '(.*)'", found["curl"], re.S)
    assert sent is not None
    assert json.loads(sent[1]) == body.model_dump(mode="json", exclude_defaults=True)


def test_choosing_again_keeps_the_scores(service: Service, browser: TestClient) -> None:
    selection_id = finished(service)
    form = {"size": "9", "alpha": "", "mu": "0.3", "too_easy_reward": "0.8"}
    own = {"Origin": "http://localhost:8000"}
    answer = browser.post(f"/jobs/{selection_id}/again", data=form, headers=own, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    before = service.http.get(f"/v1/selections/{selection_id}").json()["request"]
    after = service.http.get(f"/v1/selections/{answer.headers['location'].rpartition('/')[2]}").json()["request"]
    assert (after["size"], after["weights"]["mu"], after["weights"]["alpha"]) == (9, 0.3, None)
    assert after["weights"]["gate"] == before["weights"]["gate"] | {"too_easy_reward": 0.8, "enabled": False}
    assert {name for name in before if before[name] != after[name]} == {"size", "weights"}


def test_durations_are_read_at_a_glance() -> None:
    assert [span(value) for value in (None, 0.04, 12, 75, 3700, 90_000)] == [
        "",
        "0.0 s",
        "12 s",
        "1 min 15 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
