"""
kill -9 while months are archived: before each statement, and at random moments.

Whatever file it was writing to, each record is then in one place, every question finds it, and the rest is moved by the
next run.
"""

import asyncio
import random
from pathlib import Path

import pytest

from penia_proxy.budget.record import UsageRecord
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.file import open_for_reading, path_of
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.verify import examine
from penia_proxy.ledger.walk import walk
from tests.faults.forked import dice
from tests.faults.table import Rounds
from tests.faults.test_start import copied, run
from tests.ledger import killed
from tests.ledger.test_archives import made

RECORDS = 120
STATEMENTS = 20
"""Of some hundreds, those before which a fresh copy dies; each test draws others."""
MOMENTS = 12


def everything(path: Path) -> list[UsageRecord]:
    """Read all records, and require that all is as it must be."""
    url = f"sqlite:///{path}"
    assert examine(url).differences == []
    with open_for_reading(url) as connection:
        return [one for page in walk(connection, Files(path_of(url)), RecordFilter()) for one in page]


@pytest.mark.fault("K10")
@pytest.mark.timeout(300)
def test_archiving_that_is_killed(tmp_path: Path, rounds: Rounds) -> None:
    """Each record is in one place whenever it ends, also again and again, and at last all that was due is moved."""
    moments, old = dice(), tmp_path / "old"
    old.mkdir()
    asyncio.run(made(old / "penia.db", random.Random(7), RECORDS))
    records = everything(old / "penia.db")
    whole, counted = copied(old, tmp_path / "whole"), tmp_path / "counted"
    takes_s = run(killed.archive, whole, None, counted)
    statements, files = int(counted.read_text()), {one.name for one in whole.parent.glob("penia-*.db")}
    again = copied(old, tmp_path / "again")
    for number, at in enumerate(moments.sample(range(1, statements + 1), STATEMENTS)):
        for path in (copied(old, tmp_path / f"s{number}"), again):
            run(killed.archive, path, at)
            assert everything(path) == records
    for number in range(MOMENTS):
        path = copied(old, tmp_path / f"m{number}")
        run(killed.archive, path, kill_after_s=moments.uniform(0, takes_s))
        assert everything(path) == records
        run(killed.archive, path)
        assert everything(path) == records
        assert {one.name for one in path.parent.glob("penia-*.db")} == files
    rounds(
        2 * STATEMENTS + MOMENTS, f"before {STATEMENTS} of {statements} statements, of a fresh copy and of one again"
    )
