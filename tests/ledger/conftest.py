"""
A real ledger file for each test.

Its one job: the file, the ledger open on it, and the proof at the end of every test that its counters are right.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penia_proxy.config import LedgerConfig
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine
from tests.ledger.making import StillClock, budget


@pytest.fixture
def clock() -> StillClock:
    """Monday noon."""
    return StillClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the file."""
    return tmp_path / "penia.db"


@pytest.fixture
def config(path: Path) -> LedgerConfig:
    """Ask for the safe durability, as the default is."""
    return LedgerConfig(url=f"sqlite:///{path}")


@pytest.fixture
async def ledger(config: LedgerConfig, clock: StillClock) -> AsyncIterator[Ledger]:
    """Open a ledger with one budget; prove its counters when the test is done."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    yield ledger
    await ledger.close()

    assert not examine(config.url).differences


@pytest.fixture
def beside(path: Path, ledger: Ledger) -> Iterator[sqlite3.Connection]:
    """Open the ledger's file as another program would, without its rules."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
