"""The page's library of charts loads in a browser whose language Intl refuses, as Chromium's is where LANG is C."""

from __future__ import annotations

from minirec.service.page.report import SCRIPTS
from minirec.service.page.templating import STATIC
from tests.e2e.browser import running_browser

POSIX = 'Object.defineProperty(navigator, "language", { value: "en-US@posix", configurable: true });'


def test_charts_load_in_a_browser_with_a_language_that_is_none() -> None:
    with running_browser() as browser:
        page = browser.new_page(locale="en-US")
        page.add_init_script(POSIX)
        page.goto("about:blank")
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in SCRIPTS:
            page.add_script_tag(content=(STATIC / name).read_text())
        assert page.evaluate("typeof uPlot") == "function"
        assert faults == []
