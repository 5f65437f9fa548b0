"""Chromium, driven by Playwright; a missing one is an error, never a skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_QUIET = [
    # What a container lacks, and what a browser asks of its maker by itself.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("Chromium is missing; scripts/system-packages test installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visitor(browser: Browser, url: str, user: str, *, dark: bool = False) -> Iterator[Page]:
    """A page in a browser of its own, logged in; what its scripts throw fails the test."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": 1600, "height": 1000},
        color_scheme="dark" if dark else "light",
    )
    answer = context.request.post("/auth/token", data={"username": user, "password": user})
    assert answer.ok, answer.text()
    token = answer.json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.on("dialog", lambda dialog: thrown.append(f"a script asked: {dialog.message}"))
    try:
        yield page
        assert thrown == []
    finally:
        context.close()
