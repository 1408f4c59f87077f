"""
Find a Chromium for the tests in a browser, or install one.

Its one job: ``python tests/web/chromium.py`` says where one is, after it has tried to get one: Playwright's own, or
Debian's where it may. It fails nothing: without a browser those tests are skipped, and say so.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_S = 600
MISSING = "there is no Chromium: set $CHROMIUM, install one, or run `python -m playwright install chromium`"

FLAGS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
"""Chromium's sandbox does not run for root, as containers have it."""


@cache
def found() -> str | None:
    """Return the path of a Chromium: $CHROMIUM, the system's, Playwright's own; None where there is none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    installed = next((path for name in NAMES if (path := shutil.which(name))), None)
    return installed or _playwrights()


def _playwrights() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return str(path) if path.is_file() else None


def install() -> None:
    """Try to get a Chromium, one way after the other."""
    if _ran(sys.executable, "-m", "playwright", "install", "chromium"):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        _ran("apt-get", "update", "-qq")
        _ran("apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium")


def _ran(*command: str) -> bool:
    try:
        done = subprocess.run(command, check=False, timeout=INSTALL_S, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    if found() is None:
        install()
        found.cache_clear()
    sys.stdout.write(f"browser tests: {found() or f'WILL BE SKIPPED: {MISSING}'}\n")
