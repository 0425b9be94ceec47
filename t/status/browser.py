"""A page in a real browser: Debian's Chromium, without a window."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator

from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))),
    None)


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    assert CHROMIUM, "there is no Chromium: make build/.deps-test"
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=CHROMIUM, env=dict(os.environ),
            args=["--no-sandbox", "--no-proxy-server", "--disable-gpu"])
        try:
            yield started
        finally:
            await started.close()


class Seen:
    """What a page said and asked for."""

    def __init__(self, page: Page) -> None:
        self.console: list[str] = []
        self.requests: list = []
        page.on("console", lambda said: self.console.append(said.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("dialog", lambda dialog: self.console.append("a dialog"))
        page.on("request", lambda request: self.requests.append(request))

    def hosts(self) -> set[str]:
        return {r.url.split("/")[2] for r in self.requests
                if not r.url.startswith("data:")}

    def polls(self) -> int:
        return sum(r.url.endswith("format=json") for r in self.requests)


@contextlib.asynccontextmanager
async def looking(port: int, path: str = "/status", **more
                  ) -> AsyncIterator[tuple[Page, Seen]]:
    """The page of a status location, as soon as it shows figures."""
    async with browser() as started:
        context = await started.new_context(
            viewport={"width": 1280, "height": 900}, **more)
        page = await context.new_page()
        page.set_default_timeout(15000)
        seen = Seen(page)
        await page.goto(f"http://127.0.0.1:{port}{path}")
        await page.wait_for_selector("main[data-state=live]")
        yield page, seen


async def text(page: Page, selector: str) -> str:
    return (await page.locator(selector).first.inner_text()).strip()


async def until(page: Page, selector: str, wanted: str) -> None:
    """Waits until this is the text of the first such element."""
    await page.wait_for_function(
        """([selector, wanted]) => {
            const element = document.querySelector(selector);
            return element && element.innerText.trim() === wanted;
        }""", arg=[selector, wanted])
