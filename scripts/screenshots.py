"""Pictures of the pages for README and docs, taken from a demonstration that runs for them.

`make screenshots` writes them into docs/images; look at each before it is committed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, ViewportSize, sync_playwright

CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / "docs" / "images"
SIZE: ViewportSize = {"width": 1360, "height": 800}
LARGEST = 150_000
"""Bytes of a picture."""
SECONDS = 900
"""What the demonstration may take until it says where Airflow is."""
_URL = re.compile(r"Airflow\s+(http://[^/\s]+)/")
_LOGIN = re.compile(r"user (\S+), password (\S+)")
_THEME = """theme => {
    const root = document.documentElement;
    root.classList.remove("light", "dark");
    root.classList.add(theme);
    root.style.colorScheme = theme;
}"""
"""As the switch in Airflow's side bar sets it."""
_HOMELESS = """folder => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        texts.currentNode.data = texts.currentNode.data.replaceAll(folder, "");
    }
}"""
"""Where this checkout lies is nobody's business."""
_READY = "All of it keeps running"


@dataclass(frozen=True)
class Login:
    """Where the demonstration's Airflow is, and who may look at it."""

    url: str
    user: str
    password: str


@contextmanager
def demonstration() -> Iterator[Login]:
    """Runs until its tasks are through, and then on as long as somebody looks."""
    dsp = Path(sys.executable).parent / "dsp"
    process = subprocess.Popen([str(dsp), "demo", "--keep"], stdout=subprocess.PIPE, text=True)
    try:
        yield _said(process)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _said(process: subprocess.Popen[str]) -> Login:
    """What its output says; the demonstration itself ends when it cannot go on."""
    found: dict[str, str] = {}
    for line in process.stdout or ():
        sys.stdout.write(line)
        if address := _URL.search(line):
            found["url"] = address[1]
        if login := _LOGIN.search(line):
            found["user"], found["password"] = login.groups()
        if _READY in line and len(found) == 3:
            return Login(**found)
    raise SystemExit("the demonstration ended before it said where Airflow is")


def take(login: Login) -> None:
    """All pictures, of an administrator's browser."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is missing; scripts/system-packages test installs it")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(
            base_url=login.url, viewport=SIZE, locale="en-US", reduced_motion="reduce"
        )
        _log_in(context, login)
        page = context.new_page()
        _monitoring(page)
        _job(page)
        _request(page)
        _task(page)
        _new_task(page)
        browser.close()


def _log_in(context: BrowserContext, login: Login) -> None:
    who = {"username": login.user, "password": login.password}
    answer = context.request.post("/auth/token", data=who)
    if not answer.ok:
        raise SystemExit(f"{login.user} could not log in: {answer.status}")
    token = answer.json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": login.url}])


def _monitoring(page: Page) -> None:
    page.goto("/plugin/dsp/monitoring/warm/completed")
    page.get_by_role("button", name=re.compile("^Show the jobs of")).first.click()
    page.get_by_role("table", name="Jobs").wait_for()
    _picture(page, "monitoring")
    page.evaluate(_THEME, "dark")
    _picture(page, "monitoring-dark")


def _job(page: Page) -> None:
    page.goto("/plugin/dsp/monitoring/warm/completed")
    page.get_by_role("button", name=re.compile("^Show the jobs of")).last.click()
    page.get_by_role("table", name="Jobs").get_by_role("link").first.click()
    page.get_by_role("button", name=re.compile("^Batch(es)? 1")).first.wait_for()
    page.get_by_role("table", name="Batches").wait_for()
    _picture(page, "job")


def _request(page: Page) -> None:
    page.goto("/plugin/dsp/approvals/all")
    page.locator("tbody a").first.click()
    page.get_by_text("The three clocks").wait_for()
    _picture(page, "request")


def _task(page: Page) -> None:
    page.goto("/plugin/dsp/tasks/flights_archive")
    page.get_by_role("region", name="Task file").wait_for()
    _picture(page, "task")


def _new_task(page: Page) -> None:
    page.goto("/plugin/dsp/new-task")
    page.get_by_label("name (required)").fill("orders_archive")
    page.get_by_label("display_name").fill("Move old orders")
    page.get_by_role("button", name="2. Source").click()
    page.get_by_label("name (required)").fill("orders")
    page.get_by_label("connection (required)").fill("shop_pg")
    page.get_by_label("table (required)").fill("public.orders")
    page.get_by_role("button", name="5. Mode and filter").click()
    page.get_by_label("where").fill("ordered_at < :cutoff")
    page.get_by_role("button", name="Add to variables").click()
    page.get_by_label("Name", exact=True).fill("cutoff")
    page.get_by_label("Value", exact=True).fill("now-90d")
    page.get_by_role("button", name="3. Target").click()
    said = page.get_by_role("region", name="What is wrong with it")
    said.get_by_text("is not among the variables").wait_for(state="detached")
    said.get_by_text("the key target is missing").wait_for()
    _picture(page, "new-task")


def _picture(page: Page, name: str) -> None:
    # The pages of others, such as Airflow's own frame, load until here.
    page.wait_for_load_state("networkidle")
    page.get_by_text(re.compile("^(Still l|L)oading ")).first.wait_for(state="detached")
    page.evaluate(_HOMELESS, f"{CHECKOUT}/")
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file, animations="disabled")
    size = file.stat().st_size
    sys.stdout.write(f"{file} {size:,} bytes\n")
    if size > LARGEST:
        raise SystemExit(f"{file} is larger than {LARGEST:,} bytes")


def main() -> None:
    """Begins the demonstration, or takes one that runs: URL USER PASSWORD."""
    if len(sys.argv) == 4:
        take(Login(*sys.argv[1:]))
        return
    with demonstration() as login:
        take(login)


if __name__ == "__main__":
    main()
