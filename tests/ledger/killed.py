"""
What runs in a process of its own.

Its one job: calls without end on one ledger, which is folded meanwhile, for a test that kills; what was acknowledged
goes to a file that survives the process. And starts: one that is killed while it recovers, one as a user who may not.
And months that are archived, by a process that ends within.
"""

import asyncio
import os
import random
import sqlite3
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from penia_proxy.clock import SystemClock
from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ConfigError
from penia_proxy.ledger import archiving
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.file import open_for_writing
from penia_proxy.ledger.ledger import Ledger
from tests.ledger.making import NOON, budget, hold, record

AGES = (timedelta(), timedelta(hours=2), timedelta(days=1), timedelta(days=40))
"""How long ago calls were admitted: some hours are not over, others are being folded, or have been."""


def run(path: Path, said: Path, tag: str, started: Event) -> None:
    """Open, recover, call until killed. Says ``reserved``, ``leaving`` (about to be released), ``settled``, and ids."""
    asyncio.run(_run(path, said, tag, started))


def archive(path: Path, at: int | None = None, counted: Path | None = None) -> None:
    """
    Move months that are due at `making.NOON`, six after their end, a few records a step, until killed or done.

    ``at``: end without a word before the so many-th statement. ``counted``: where to write how many there were.
    """
    archiving.RECORDS_AT_ONCE = 7
    run_so_far = 0

    def before_each(_statement: str) -> None:
        nonlocal run_so_far
        run_so_far += 1
        if run_so_far == at:
            os._exit(1)

    def traced(*arguments: Any, **said: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **said)
        connection.set_trace_callback(before_each)
        return connection

    connect, sqlite3.connect = sqlite3.connect, traced
    _, lock, connection = open_for_writing(LedgerConfig(url=f"sqlite:///{path}"))
    for _ in archiving.Archiving(Files(path), 6, lambda: NOON).steps(connection):
        pass
    connection.close()
    lock.release()
    if counted is not None:
        counted.write_text(str(run_so_far))


def open_as_nobody(url: str) -> None:
    """Become a user without rights, and expect to be told what to check."""
    os.setuid(65534)
    with pytest.raises(ConfigError, match="this user may write"):
        open_for_writing(LedgerConfig(url=url))


def open_and_die(path: str, holds: int = 1) -> None:
    """Open holds on disk, and end without a word."""
    asyncio.run(_open_and_die(path, holds))


async def _open_and_die(path: str, holds: int) -> None:
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), SystemClock())
    await ledger.save_budget(budget())
    await asyncio.gather(*(ledger.reserve(hold(f"r_{number + 1}")) for number in range(holds)))
    os._exit(1)


def recover(path: str) -> None:
    """Book what a crash left open, as a start does."""
    asyncio.run(_recover(path))


async def _recover(path: str) -> None:
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), SystemClock())
    await ledger.recover()
    await ledger.close()


async def _run(path: Path, said: Path, tag: str, started: Event) -> None:
    clock = SystemClock()
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), clock)
    await ledger.recover()
    await ledger.save_budget(budget())
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(word: str, name: str) -> None:
        os.write(log, f"{word} {name}\n".encode())

    async def calls(lane: int) -> None:
        number = 0
        while True:
            name = f"{tag}.{lane}.{number}"
            number += 1
            await ledger.reserve(hold(name))
            say("reserved", name)
            if random.random() < 0.2:
                say("leaving", name)
                await ledger.release(name)
            else:
                age, component = random.choice(AGES), f"c{random.randrange(300)}"
                await ledger.settle(record(name, timestamp=clock.now() - age, component=component))
                say("settled", name)

    async def fold() -> None:
        while True:
            await ledger.fold()

    lanes = [asyncio.create_task(calls(lane)) for lane in range(20)]
    started.set()
    await asyncio.gather(*lanes, fold())
