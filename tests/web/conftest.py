"""
A real browser before a real gateway.

Its one job: pages whose every request, error and policy violation is kept. Rules: a test ends with a console free of
errors, and no request has left the gateway's origin. One browser, and so one event loop, serves all tests of the
dashboard; each has a window of its own, which shares nothing with another's.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.gateways import Start
from tests.http.conftest import start, starting  # noqa: F401 - the first is a fixture, for tests with a loop each
from tests.web.chromium import FLAGS, MISSING, found

WAIT_MS = 15_000
ONE_LOOP = pytest.mark.asyncio(loop_scope="session")
"""For every module whose tests use these fixtures."""


@dataclass
class Watched:
    """What a browser said and asked for."""

    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    away: bool = False
    """Whether the gateway is meant to be gone: the network's own errors are not the page's then."""

    def heard(self, message: ConsoleMessage) -> None:
        """Keep what the console reports."""
        is_network = "ERR_CONNECTION" in message.text or "WebSocket connection" in message.text
        if message.type in {"error", "warning"} and not (self.away and is_network):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def requested(self, request: Request) -> None:
        """Keep what was asked for."""
        self.asked.append(request.url)

    def elsewhere(self, url: str) -> list[str]:
        """Return what was asked of anybody but the gateway."""
        return [one for one in self.asked if urlsplit(one).netloc != urlsplit(url).netloc]


@pytest_asyncio.fixture(loop_scope="session")
async def serve(tmp_path: Path) -> AsyncIterator[Start]:
    """Give tests a function that starts a gateway before a sandbox of its own, in the browser's loop."""
    async with starting(tmp_path) as begin:
        yield begin


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start a Chromium."""
    path = found()
    if path is None:
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def watched() -> AsyncIterator[Watched]:
    """Keep what pages say; a test ends with nothing to complain of."""
    kept = Watched()
    yield kept
    assert kept.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, watched: Watched) -> AsyncIterator[BrowserContext]:
    """Open a window that is watched."""
    opened = await browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(WAIT_MS)
    opened.on("console", watched.heard)
    opened.on("weberror", lambda error: watched.complaints.append(str(error.error)))
    opened.on("request", watched.requested)
    opened.on("dialog", lambda dialog: watched.complaints.append(f"a dialog: {dialog.message}"))
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    """Open a page."""
    return await context.new_page()
