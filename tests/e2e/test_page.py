"""A person at the page, in a real browser and on a whole stack: upload, start, watch, click, choose again, train."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from typer.testing import CliRunner

from minirec.cli.main import app
from tests.e2e.browser import running_browser, watched
from tests.e2e.stack import Stack

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
WIDTHS = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
LONG = 120_000
"""Milliseconds that a job may take on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as started:
        yield started


def signed_in(browser: Browser, stack: Stack, width: str, **options: object) -> BrowserContext:
    """A browser's window in which somebody has signed in."""
    context = browser.new_context(locale="en-US", viewport=WIDTHS[width], **options)  # type: ignore[arg-type]
    context.set_default_timeout(LONG)
    page = context.new_page()
    page.goto(f"{stack.url}/datasets")
    page.get_by_label("Key").fill(stack.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{stack.url}/datasets")
    return context


@pytest.fixture(scope="module")
def hostile_files(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack's small dataset, with titles and ids that are an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, fields in (("samples", ("id",)), ("items", ("title",))):
        rows = [json.loads(line) for line in (stack.files / f"{name}.jsonl").read_text().splitlines()]
        hostile = [row | {field: f"{row[field]} {HOSTILE}" for field in fields} for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in hostile))
    return folder


@dataclass
class Selected:
    """A selection that was started by form."""

    url: str
    faults: list[str]


@pytest.fixture(scope="module")
def selected(browser: Browser, stack: Stack, hostile_files: Path) -> Selected:
    """Upload and start at the narrow width, and watch it until it is over."""
    page = signed_in(browser, stack, "narrow").new_page()
    faults = watched(page)
    page.goto(f"{stack.url}/datasets")
    form = page.locator("form", has=page.get_by_role("heading", name="Interactions"))
    form.get_by_label("Samples").set_input_files(hostile_files / "samples.jsonl")
    form.get_by_label("Items").set_input_files(hostile_files / "items.jsonl")
    form.get_by_label("Name").fill(HOSTILE)
    form.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    page.get_by_role("link", name="Select from it").click()
    page.get_by_label("a model in the models folder").check()
    page.get_by_label("Model", exact=True).fill("tiny")
    page.get_by_label("Size").fill("12")
    page.get_by_label("Tokens a rollout").fill("16")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("random").check()
    expect(page.locator("#forecast")).to_contain_text("12 of 48 samples. 192 rollouts, up to 3,072 tokens.")
    expect(page.locator("#cli")).to_contain_text("--model tiny --local --baseline random")
    no_overflow(page)
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".stages")).to_be_visible()
    # Nobody reloads: the events of the job lead to its result.
    expect(page.locator("#explained .sentence")).to_contain_text("Of 48 samples, the 12 most", timeout=LONG)
    return Selected(page.url, faults)


def no_overflow(page: Page) -> None:
    """Hold that nothing is cut off at the right: what is wide scrolls inside of the page."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def test_started_by_form_and_watched_until_it_is_over(selected: Selected) -> None:
    assert selected.faults == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_selection_is_drawn_and_its_samples_are_a_click_away(
    browser: Browser, stack: Stack, selected: Selected, width: str
) -> None:
    page = signed_in(browser, stack, width).new_page()
    faults = watched(page)
    page.goto(selected.url)
    for chart in ("rewards", "scatter", "alignment", "map", "curriculum"):
        expect(page.locator(f"[data-chart={chart}] canvas").first).to_be_visible()
    no_overflow(page)
    page.locator("[data-chart=map]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    panel = page.locator("#sample-panel")
    expect(panel).to_contain_text("Rollout 4: reward")
    expect(panel).to_contain_text("<answer>")
    expect(panel).to_contain_text(HOSTILE)
    over = page.locator("[data-chart=scatter] .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    corners = [(0.0, 0.0), (0.0, 0.999), (0.999, 0.999), (0.999, 0.0), (0.01, 0.0)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    expect(panel.get_by_role("heading")).to_contain_text("48 samples, 12 picked")
    panel.get_by_role("link").first.click()
    expect(page.locator(".why")).to_be_visible()
    no_overflow(page)
    assert faults == []


def test_sliders_choose_again_from_the_same_scores(browser: Browser, stack: Stack, selected: Selected) -> None:
    page = signed_in(browser, stack, "wide").new_page()
    faults = watched(page)
    page.goto(selected.url)
    page.locator("input[type=range][data-for=size]").fill("20")
    expect(page.locator("#trial")).to_contain_text("shown above: 20 samples")
    expect(page.locator("#explained .sentence")).to_contain_text("the 20 most")
    page.locator("input[type=range][data-for=size]").fill("7")
    expect(page.locator("#explained .sentence")).to_contain_text("the 7 most")
    page.get_by_role("button", name="Keep this choice").click()
    expect(page.locator("#explained .sentence")).to_contain_text("the 7 most")
    kept = page.url
    with stack.client() as client:
        own = selected.url.rpartition("/")[2]
        hostile = next(iter(client.selections.scores(own))).id
        assert HOSTILE in hostile
        assert client.selections.explain(own, hostile).sample["id"] == hostile
        made = [job for job in client.selections.list() if job.metadata.get("trial_of") == own]
    assert made == [], "a trial outlived its page"
    page.goto(f"{selected.url}/compare")
    page.get_by_label("With").select_option(kept.rpartition("/")[2])
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("main")).to_contain_text("samples are in both")
    assert faults == []


def test_exports_and_the_report_are_downloaded(
    browser: Browser, stack: Stack, selected: Selected, tmp_path: Path
) -> None:
    context = signed_in(browser, stack, "wide")
    page = context.new_page()
    page.goto(selected.url)
    for name, ending in (("jsonl", ".zip"), ("report", ".html")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name, exact=True).click()
        assert download.value.suggested_filename.endswith(ending)
    report, by_command = tmp_path / "report.html", tmp_path / "by-command.html"
    download.value.save_as(report)
    command = ["--base-url", stack.url, "--api-key", stack.key, "report", selected.url.rpartition("/")[2]]
    done = CliRunner().invoke(app, [*command, "-o", str(by_command)])
    assert done.exit_code == 0, done.output
    assert by_command.read_bytes() == report.read_bytes()
    context.set_offline(True)
    alone = context.new_page()
    faults = watched(alone)
    alone.goto(report.as_uri())
    expect(alone.locator("[data-chart=scatter] canvas").first).to_be_visible()
    expect(alone.locator("main")).to_contain_text("Rollout 1: reward")
    assert faults == []


def test_training_is_followed_and_drawn(browser: Browser, stack: Stack, selected: Selected) -> None:
    page = signed_in(browser, stack, "narrow").new_page()
    faults = watched(page)
    page.goto(selected.url)
    page.get_by_label("Updates").fill("2")
    page.get_by_role("button", name="Train on the picks").click()
    expect(page).to_have_url(re.compile("/jobs/trn_"))
    expect(page.locator(".status")).to_have_text("succeeded", timeout=LONG)
    expect(page.locator("[data-curve=loss] canvas").first).to_be_visible()
    no_overflow(page)
    page.goto(f"{stack.url}/workers")
    expect(page.locator("main")).to_contain_text("CPU")
    page.goto(f"{stack.url}/")
    expect(page.locator("table.jobs")).to_contain_text("training job")
    no_overflow(page)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()
    assert faults == []


def test_without_javascript_there_are_tables(browser: Browser, stack: Stack, selected: Selected) -> None:
    page = signed_in(browser, stack, "narrow", java_script_enabled=False, color_scheme="dark").new_page()
    page.goto(selected.url)
    page.get_by_text("As a table").first.click()
    expect(page.locator("details[open] tbody tr")).to_have_count(40)
    page.get_by_role("link", name="All samples as a table").click()
    expect(page.locator("tbody tr")).to_have_count(48)
    page.locator("tbody a").first.click()
    expect(page.locator("main")).to_contain_text("Picked as number 1")
    page.goto(f"{stack.url}/new")
    page.get_by_label("a model in the models folder").check()
    page.get_by_label("Model", exact=True).fill("tiny")
    page.get_by_role("button", name="What would it cost?").click()
    expect(page.locator("#forecast")).to_contain_text("of 48 samples")
