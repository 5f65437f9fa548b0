"""Chromium, driven by Playwright; a missing one is an error, never a skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PATIENCE = 60_000
"""Milliseconds: a machine that has much to do draws Airflow's pages late."""
expect.set_options(timeout=PATIENCE)
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


class Visitors:
    """Users in browsers of their own, each logged in once."""

    def __init__(
        self, browser: Browser, url: str, passwords: Mapping[str, str] | None = None
    ) -> None:
        """``passwords`` are those that are not their user's name."""
        self._browser = browser
        self._url = url
        self._passwords = passwords or {}
        self._contexts: dict[str, BrowserContext] = {}

    @contextmanager
    def page(self, user: str) -> Iterator[Page]:
        """A new tab of a user; what its scripts throw fails the test."""
        context = self._contexts.get(user) or self._log_in(user)
        page = context.new_page()
        thrown: list[str] = []
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("dialog", lambda dialog: thrown.append(f"a script asked: {dialog.message}"))
        try:
            yield page
            assert thrown == []
        finally:
            page.close()

    def _log_in(self, user: str) -> BrowserContext:
        context = self._browser.new_context(
            base_url=self._url, viewport={"width": 1600, "height": 1000}, locale="en-US"
        )
        context.set_default_timeout(PATIENCE)
        login = {"username": user, "password": self._passwords.get(user, user)}
        answer = context.request.post("/auth/token", data=login)
        assert answer.ok, answer.text()
        token = answer.json()["access_token"]
        context.add_cookies([{"name": "_token", "value": token, "url": self._url}])
        self._contexts[user] = context
        return context
