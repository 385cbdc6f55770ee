"""The browser that drives the page, where there is one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--no-zygote", "--disable-dev-shm-usage"]


def find_browser() -> str:
    """Return the path of a Chromium, or skip: installed by `scripts/browser.py`, named, or on the PATH."""
    named = os.environ.get("MINIREC_TEST_BROWSER")
    installed = Path(sys.prefix) / "browser" / "chromium"
    found = (
        named or (str(installed) if installed.exists() else None) or next(filter(None, map(shutil.which, NAMES)), None)
    )
    if found is None:
        pytest.skip("no Chromium: scripts/browser.py installs one, MINIREC_TEST_BROWSER may name one")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start a Chromium, and end it."""
    path = find_browser()
    headless = ["--headless=shell"] if Path(path).parent.name == "browser" else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *headless])
        try:
            yield browser
        finally:
            browser.close()


def watched(page: Page) -> list[str]:
    """Return a list that everything is added to that no page of ours should do: errors, dialogs, requests elsewhere."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))

    def told(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    page.on("console", told)
    page.on("dialog", lambda opened: faults.append(f"dialog: {opened.message}"))
    return faults
