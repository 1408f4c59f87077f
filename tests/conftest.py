"""
Fixtures for every test.

Its one job: keep tests from the machine they run on. Rule: only what every area needs; an area's own fixtures live in
its own conftest.py.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # how long an example took says how busy the machine is
settings.load_profile("unhurried")

pytest_plugins = ["tests.faults.table", "tests.web.loudly"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what a developer's shell may hold: our own settings, providers' keys, proxies, a terminal's size."""
    for name in list(os.environ):
        ours = name.startswith(("PENIA_", "BUDGET_")) or name in {"COLUMNS", "LINES", "NO_COLOR"}
        if ours or name.endswith("_API_KEY") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
