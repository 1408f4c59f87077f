"""
kill -9 at random moments.

Its one job: nothing acknowledged is lost, nothing stays held, and counters and folds are right after every one of them.
"""

import asyncio
import multiprocessing
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from penia_proxy.clock import SystemClock
from penia_proxy.config import LedgerConfig
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine
from tests.ledger import killed

ROUNDS = 12


@pytest.mark.fault("K8")
def test_a_kill_loses_nothing_and_leaves_nothing_held(tmp_path: Path) -> None:
    """After each kill: a record for every call that was reserved and not released, none held, no difference."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    moments = random.Random(seed)
    path, said = tmp_path / "penia.db", tmp_path / "said"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([killed.__name__])
    for number in range(ROUNDS):
        started = processes.Event()
        child = processes.Process(target=killed.run, args=(path, said, str(number), started), daemon=True)
        child.start()
        assert started.wait(30)
        time.sleep(moments.uniform(0, 0.08))
        child.kill()
        child.join()

        asyncio.run(restart(path))
        check(path, said.read_text())


async def restart(path: Path) -> None:
    """Start, recover, and end, as the next gateway does."""
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), SystemClock())
    await ledger.recover()
    assert await ledger.recover() == []
    assert ledger.holds_open == 0
    await ledger.fold()  # so that what the next process settles comes late
    await ledger.close()


def check(path: Path, said: str) -> None:
    """Compare the file with what the processes were told before they died."""
    words: dict[str, set[str]] = {"reserved": set(), "leaving": set(), "settled": set()}
    for word, name in (line.split() for line in said.splitlines() if line.count(" ") == 1):
        words[word].add(name)
    with closing(sqlite3.connect(path)) as connection:
        kept = dict(connection.execute("SELECT record_id, cost_nanos FROM usage_records"))

    assert words["reserved"] - words["leaving"] <= kept.keys()
    assert all(kept[name] == 900 for name in words["settled"])
    findings = examine(f"sqlite:///{path}")
    assert not findings.differences
    assert findings.holds_open == 0
