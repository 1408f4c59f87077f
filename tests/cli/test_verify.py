"""
Test `penia verify`: what it prints and how it exits.

Its one job: the command; which differences there can be is for the ledger's tests. Rule: a real ledger, made by a real
gateway.
"""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import load_config
from tests.cli.conftest import Outcome

Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """Return a configuration whose ledger has one record of 25 cents."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"server: {{port: 0}}\nledger: {{url: 'sqlite:///{tmp_path / 'penia.db'}'}}\n"
        "budgets: [{name: Default, daily_limit: 5}]\n"
    )
    gateway = await Gateway(load_config(path, {}), SystemClock()).start()
    try:
        used = {"component": "a", "provider": "openai", "model": "m", "input_tokens": 1, "cost": 0.25}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/api/v1/usage/record", json=used) as answer,
        ):
            assert answer.status == 201, await answer.text()
    finally:
        await gateway.stop()
    return path


async def test_no_difference(run: Run, config: Path) -> None:
    """A ledger whose counters are right is said to be: exit code 0."""
    outcome = await run("verify", "-c", str(config))

    assert (outcome.code, outcome.out) == (0, "1 record, 0 open holds: 0 differences\n")


async def test_a_difference_is_printed(run: Run, config: Path) -> None:
    """A counter that was changed by a nano-dollar is printed with both figures: exit code 1."""
    with contextlib.closing(sqlite3.connect(config.parent / "penia.db")) as database, database:
        database.execute("UPDATE spend SET spent_nanos = spent_nanos + 1")

    outcome = await run("verify", "-q", "-c", str(config))

    assert outcome.code == 1
    assert "Default) daily" in outcome.out
    assert "stored spent_nanos 250000001, recomputed spent_nanos 250000000" in outcome.out


async def test_no_ledger(run: Run, tmp_path: Path) -> None:
    """Where there is no ledger yet, that is said, and none is made: exit code 2."""
    (tmp_path / "config.yaml").write_text(f"ledger: {{url: 'sqlite:///{tmp_path / 'none.db'}'}}\n")

    outcome = await run("verify", "-c", str(tmp_path / "config.yaml"))

    assert outcome.code == 2
    assert "none.db does not exist" in outcome.err
    assert not (tmp_path / "none.db").exists()
