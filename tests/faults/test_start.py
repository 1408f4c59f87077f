"""
kill -9 during a start: while it books what the last crash left open, and while it migrates the file.

Each kill is at a moment of the time that the same start takes when nobody kills it.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import create_engine

import penia_proxy.ledger.file as ledger_file
from penia_proxy.ledger.schema import REVISION
from penia_proxy.ledger.verify import examine
from tests.faults.forked import context, dice
from tests.faults.table import Rounds
from tests.ledger import killed

HOLDS = 500
KILLS = 50
KILLS_OF_A_FILE = 2
MIGRATIONS = Path(ledger_file.__file__).parent / "migrations"


def run(do: Callable[..., None], *arguments: object, kill_after_s: float | None = None) -> float:
    """Run something in a process of its own; return how long it took. It may be killed."""
    child = context().Process(target=do, args=arguments, daemon=True)
    began = time.perf_counter()  # noqa: TID251 - measures a process, to kill the next one in its time
    child.start()
    if kill_after_s is not None:
        child.join(kill_after_s)
        child.kill()
    child.join()
    assert child.exitcode is not None
    return time.perf_counter() - began  # noqa: TID251


def copied(folder: Path, to: Path) -> Path:
    """Copy a ledger with its log; return the copy."""
    shutil.copytree(folder, to)
    return to / "penia.db"


def open_holds(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM holds").fetchone()[0])


def check_recovered(path: Path) -> None:
    """Each hold is one record, of what it held; nothing is open and the books verify."""
    findings = examine(f"sqlite:///{path}")
    assert (findings.differences, findings.holds_open, findings.records) == ([], 0, HOLDS)
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT cost_basis, cost_nanos, count(*) FROM usage_records GROUP BY 1, 2").fetchall()
    assert len(rows) == 1
    assert rows[0][0::2] == ("unconfirmed", HOLDS)


@pytest.mark.fault("K6")
@pytest.mark.timeout(180)
def test_a_recovery_that_is_killed(tmp_path: Path, rounds: Rounds) -> None:
    """Once or twice, at any moment: the next one leaves what one that nobody killed does."""
    moments, crashed = dice(), tmp_path / "crashed"
    crashed.mkdir()
    run(killed.open_and_die, str(crashed / "penia.db"), HOLDS)
    takes_s = run(killed.recover, str(copied(crashed, tmp_path / "first")))
    check_recovered(tmp_path / "first" / "penia.db")
    before = 0
    for number in range(KILLS // KILLS_OF_A_FILE):
        path = copied(crashed, tmp_path / str(number))
        for _ in range(KILLS_OF_A_FILE):
            run(killed.recover, str(path), kill_after_s=moments.uniform(0, takes_s))
            before += open_holds(path) > 0
        run(killed.recover, str(path))
        check_recovered(path)
        shutil.rmtree(path.parent)
    rounds(KILLS, f"{HOLDS:,} holds each time; {before} of the {KILLS} kills came before they were booked")


def of_the_first_version(path: Path) -> None:
    """Make a file as the first version left it, with open holds."""
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "0001")
        connection.commit()
    engine.dispose()
    with closing(sqlite3.connect(path)) as file:
        at = "2026-11-23T12:00:00.000000Z"
        file.executemany(
            f"INSERT INTO holds VALUES (?, '{at}', 7, '[]', 'c', 'openai', 'm', NULL, '{{}}', 0, 1, 1, NULL)",
            [(f"r_{number}",) for number in range(HOLDS)],
        )
        file.commit()


def schema_of(path: Path) -> tuple[str, frozenset[str]]:
    """Return the version that a file says it has, and everything that is in it."""
    with closing(sqlite3.connect(path)) as file:
        (version,) = file.execute("SELECT version_num FROM alembic_version").fetchone()
        return version, frozenset(sql for (sql,) in file.execute("SELECT sql FROM sqlite_master") if sql)


@pytest.mark.fault("K7")
@pytest.mark.timeout(180)
def test_a_migration_that_is_killed(tmp_path: Path, rounds: Rounds) -> None:
    """The file is wholly of the old version or wholly of the new one, and the next start finds all that was in it."""
    moments, old = dice(), tmp_path / "old"
    old.mkdir()
    of_the_first_version(old / "penia.db")
    new = copied(old, tmp_path / "new")
    takes_s = run(killed.recover, str(new))
    schemas = dict([schema_of(old / "penia.db"), schema_of(new)])
    assert schemas.keys() == {"0001", REVISION}
    found = []
    for number in range(KILLS // KILLS_OF_A_FILE):
        path = copied(old, tmp_path / str(number))
        for _ in range(KILLS_OF_A_FILE):
            run(killed.recover, str(path), kill_after_s=moments.uniform(0, takes_s))
            version, schema = schema_of(path)
            assert schema == schemas[version]
            found.append(version)
        run(killed.recover, str(path))
        assert schema_of(path) == (REVISION, schemas[REVISION])
        check_recovered(path)
        shutil.rmtree(path.parent)
    rounds(KILLS, f"{found.count('0001')} times the old version, {found.count(REVISION)} times the new one")
