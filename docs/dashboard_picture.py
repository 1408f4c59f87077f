"""
Make the README's picture of the dashboard.

Its one job: run the demo over a ledger that has seen five days, and photograph its overview. Run: make screenshots
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from penia_proxy.clock import SystemClock  # noqa: E402 - the checkout's
from tests.web.chromium import FLAGS, MISSING, found  # noqa: E402 - the same browser as the tests'

TARGET = Path(__file__).parent / "dashboard.png"
DAYS = 5
SECONDS = 25
WIDTH, HEIGHT = 1360, 1130
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PAST = (
    ("rhetor", "anthropic", "claude-sonnet-5", 0.19),
    ("apollo", "openai", "gpt-4o", 0.11),
    ("vision-desk", "openai", "gpt-4.1-mini", 0.04),
    ("ci-bot", "openai", "gpt-4o-mini", 0.013),
)
"""Component, provider, model, and USD of an hour at noon."""


class Api:
    """The demo's REST API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def wait(self) -> None:
        """Return once it listens."""
        for _ in range(200):
            try:
                self.ask("GET", "/ready")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
            else:
                return
        raise SystemExit("the demo does not start")

    def remember(self, now: datetime) -> str:
        """Record what components have used, hour by hour, more by day than by night; return the budget of it all."""
        begins = now - timedelta(days=DAYS - 1)
        # Weeks and months that have gone on for some days, whenever the picture is made.
        calendar = {"week_start": WEEKDAYS[begins.weekday()], "month_start_day": min(begins.day, 28)}
        limits = {"daily_limit": 4, "weekly_limit": 20, "monthly_limit": 80}
        budget: dict[str, str] = self.ask("POST", "/api/v1/budgets", {"name": "All teams", **limits, **calendar})
        for hours in range(1, 24 * DAYS):
            at = now - timedelta(hours=hours)
            share = max(0.05, 1 - abs(13 - at.hour) / 8)
            for number, (component, provider, model, cost) in enumerate(PAST):
                usd = round(cost * share * (0.7 + (hours * 7 + number * 5) % 11 / 16), 6)
                used = {"input_tokens": int(usd * 200_000), "output_tokens": int(usd * 30_000), "cost": usd}
                who = {"component": component, "provider": provider, "model": model, "timestamp": at.isoformat()}
                self.ask("POST", "/api/v1/usage/record", {**who, **used})
        return budget["budget_id"]


def photograph(url: str, budget_id: str, chromium: str) -> None:
    """Take the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(f"{url}/#/overview?budget={budget_id}&period=weekly")
        page.wait_for_selector(".chart .main-svg")
        page.wait_for_timeout(SECONDS * 1000)
        page.screenshot(path=TARGET)
        browser.close()


def main() -> None:
    """Draw the dashboard."""
    chromium = found()
    if chromium is None:
        raise SystemExit(MISSING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as scratch:
        command = ("-m", "penia_proxy", "demo", "--rate", "0.7", "--port", str(port), "--db", f"{scratch}/penia.db")
        demo = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
        try:
            api = Api(f"http://127.0.0.1:{port}")
            api.wait()
            budget_id = api.remember(SystemClock().now().astimezone(UTC))
            photograph(f"http://127.0.0.1:{port}", budget_id, chromium)
        finally:
            demo.terminate()
            demo.wait()


if __name__ == "__main__":
    main()
