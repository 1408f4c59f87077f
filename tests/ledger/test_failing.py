"""
A database that fails: full, locked, or of unknown outcome.

Its one job: what was acknowledged stays, what was refused leaves nothing, and what must not be lost is tried again.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penia_proxy.config import LedgerConfig
from penia_proxy.errors import StoreUnavailable
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.transaction import Transaction
from tests.ledger.making import StillClock, budget, hold, record

LARGE = {"filler": "x" * 200_000}
"""More than any free page holds, so that writing it needs new ones."""


@pytest.fixture
async def writing(ledger: Ledger) -> AsyncIterator[sqlite3.Connection]:
    """Take the connection that writes: it gives up on a lock quickly, and can write again when the test is done."""
    connection = ledger._writer._connection
    connection.execute("PRAGMA busy_timeout = 5")
    yield connection
    connection.execute("PRAGMA max_page_count = 1000000")


def fill(connection: sqlite3.Connection) -> None:
    """Leave no room for another page, as a full disk does."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


async def reserve_until_refused(ledger: Ledger) -> list[str]:
    """Reserve until the database refuses; return the ids that were acknowledged."""
    opened: list[str] = []
    for number in range(2_000):
        try:
            await ledger.reserve(hold(f"r_{number}", tags={"filler": "x" * 1_000}))
        except StoreUnavailable:
            return opened
        opened.append(f"r_{number}")
    pytest.fail("the database took everything")


@pytest.mark.fault("D1")
async def test_a_full_database_refuses_holds(
    ledger: Ledger, writing: sqlite3.Connection, beside: sqlite3.Connection
) -> None:
    """Without room, a hold is refused and leaves nothing; the acknowledged ones are all there."""
    fill(writing)
    opened = await reserve_until_refused(ledger)

    assert not ledger.healthy
    assert {name for (name,) in beside.execute("SELECT hold_id FROM holds")} == set(opened)
    assert ledger.holds_open == len(opened)


@pytest.mark.fault("D1")
async def test_a_full_database_keeps_settlements_for_later(ledger: Ledger, writing: sqlite3.Connection) -> None:
    """A settlement waits for room and is then written; meanwhile reads go on."""
    await ledger.reserve(hold("r_1"))
    fill(writing)
    settled = ledger.settle(record("r_1", metadata=LARGE))
    with pytest.raises(StoreUnavailable):
        await ledger.append(record("r_2", metadata=LARGE), "f")

    assert not settled.done()
    assert ledger.queue_depth == 1
    assert (await ledger.lists.records(RecordFilter())).total == 0
    writing.execute("PRAGMA max_page_count = 1000000")
    await settled
    assert ledger.healthy
    assert ledger.holds_open == 0
    assert (await ledger.lists.records(RecordFilter())).total == 1


@pytest.mark.fault("D3")
async def test_a_locked_database_refuses_and_recovers(
    ledger: Ledger, writing: sqlite3.Connection, beside: sqlite3.Connection
) -> None:
    """While another program holds the lock, holds are refused; releases and settlements follow when it lets go."""
    for name in ("r_1", "r_2"):
        await ledger.reserve(hold(name))
    beside.execute("BEGIN EXCLUSIVE")
    settled, released = ledger.settle(record("r_1")), ledger.release("r_2")
    with pytest.raises(StoreUnavailable):
        await ledger.reserve(hold("r_3"))
    await asyncio.wait_for(ledger.lists.records(RecordFilter()), 10)

    assert not settled.done()
    assert not released.done()
    beside.execute("ROLLBACK")
    await asyncio.gather(settled, released)
    assert ledger.holds_open == 0
    await ledger.reserve(hold("r_3"))
    assert ledger.healthy


async def test_recovery_is_noticed_without_a_call(
    ledger: Ledger, writing: sqlite3.Connection, beside: sqlite3.Connection
) -> None:
    """A refused hold that nobody repeats does not leave the ledger unhealthy: it tries by itself."""
    beside.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable):
        await ledger.reserve(hold("r_1"))
    assert not ledger.healthy
    beside.execute("ROLLBACK")

    async with asyncio.timeout(10):
        while not ledger.healthy:
            await asyncio.sleep(0.005)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Error]:
    """Errors that the next commits raise after they have landed."""
    commit, waiting = Transaction.commit, list[sqlite3.Error]()

    def failing(self: Transaction) -> None:
        if waiting:
            self._flush()
            self._connection.execute("COMMIT")
            raise waiting.pop()
        commit(self)

    monkeypatch.setattr(Transaction, "commit", failing)
    return waiting


@pytest.mark.fault("D2")
async def test_a_settlement_of_unknown_outcome_counts_once(ledger: Ledger, failures: list[sqlite3.Error]) -> None:
    """If the disk fails after the commit landed, the settlement is tried again and changes nothing more."""
    await ledger.reserve(hold("r_1"))
    failures.append(sqlite3.OperationalError("disk I/O error"))
    await ledger.settle(record("r_1"))
    await ledger.settle(record("r_2"))

    assert (await ledger.lists.records(RecordFilter())).total == 2
    assert ledger.holds_open == 0


@pytest.mark.fault("D2")
async def test_a_hold_of_unknown_outcome_is_taken_back(
    ledger: Ledger, failures: list[sqlite3.Error], beside: sqlite3.Connection
) -> None:
    """A hold that was refused though its commit landed is released; the open ones stay."""
    await ledger.reserve(hold("r_1"))
    failures.append(sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(StoreUnavailable):
        await ledger.reserve(hold("r_2"))
    await ledger.release("r_none")  # done when what the ledger tries by itself is

    assert beside.execute("SELECT hold_id FROM holds").fetchall() == [("r_1",)]
    assert ledger.holds_open == 1
    await ledger.reserve(hold("r_2"))


async def test_a_posted_record_of_unknown_outcome_can_be_posted_again(
    ledger: Ledger, failures: list[sqlite3.Error]
) -> None:
    """The post that was refused though it landed is the same record when it is repeated."""
    failures.append(sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(StoreUnavailable):
        await ledger.append(record("r_1"), "f")
    await ledger.settle(record("r_2"))

    assert await ledger.append(record("r_1"), "f") == (record("r_1"), False)


async def test_a_calendar_of_unknown_outcome_is_read_again(ledger: Ledger, failures: list[sqlite3.Error]) -> None:
    """After a change that was refused though it landed, calls are counted in the windows the file has."""
    failures.append(sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(StoreUnavailable):
        await ledger.save_budget(budget(timezone="Asia/Kathmandu"))
    await ledger.settle(record("r_1"))  # the proof at the end of every test compares its windows


async def test_a_move_that_spoils_the_batch_is_found(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the database notices what cannot be written, each of the others is written all the same."""
    answers = await asyncio.gather(
        *(ledger.settle(record(f"r_{number}", estimated_nanos=2**70 * (number == 3))) for number in range(6)),
        return_exceptions=True,
    )

    assert [type(answer).__name__ for answer in answers].count("InvariantError") == 1
    assert (await ledger.lists.records(RecordFilter())).total == 5


async def test_a_flood_of_holds_is_refused_before_it_fills_memory(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the queue's limit new holds are refused at once, and settlements are not."""
    monkeypatch.setattr("penia_proxy.ledger.writer.QUEUE_MAX", 10)
    answers = await asyncio.gather(
        *(ledger.reserve(hold(f"r_{number}")) for number in range(30)), return_exceptions=True
    )
    await asyncio.gather(*(ledger.settle(record(f"s_{number}")) for number in range(30)))

    assert sum(isinstance(answer, StoreUnavailable) for answer in answers) == 20
    assert (await ledger.lists.records(RecordFilter())).total == 30


@pytest.mark.fault("D2")
async def test_the_end_tries_again(config: LedgerConfig, clock: StillClock, failures: list[sqlite3.Error]) -> None:
    """A database that fails for a moment while the ledger closes does not cost a settlement."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    failures.extend(sqlite3.OperationalError("disk I/O error") for _ in range(3))
    settled = ledger.settle(record("r_1"))
    await ledger.close()

    assert settled.exception() is None


async def test_the_end_does_not_wait_for_ever(
    config: LedgerConfig, clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing gives up on a database that stays locked, says so, and the next start charges what was open."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    await ledger.reserve(hold("r_1"))
    ledger._writer._connection.execute("PRAGMA busy_timeout = 5")
    blocker = sqlite3.connect(config.url.removeprefix("sqlite:///"), isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    settled: asyncio.Future[Any] = ledger.settle(record("r_1"))
    await ledger.close()
    blocker.close()

    with pytest.raises(StoreUnavailable):
        await settled
    assert "1 moves unwritten" in caplog.text
    again = await Ledger.open(config, clock)
    assert [one.cost_nanos for one in await again.recover()] == [1_000]
    await again.close()
