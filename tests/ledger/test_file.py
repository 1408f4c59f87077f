"""The ledger's file: made, migrated, locked, guarded, and refused where it cannot be used."""

import asyncio
import multiprocessing
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import penia_proxy.ledger.file as ledger_file
from penia_proxy.budget.grants import Grant
from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ConfigError
from penia_proxy.ledger import checking
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.schema import APPEND_ONLY, REVISION, metadata
from penia_proxy.ledger.verify import examine
from tests.ledger import killed
from tests.ledger.making import NOON, StillClock, budget, hold, record

MIGRATIONS = Path(ledger_file.__file__).parent / "migrations"


async def test_the_migrations_build_what_the_schema_says(ledger: Ledger, path: Path) -> None:
    """From an empty file, the migrations leave exactly the tables, columns and indexes of `schema`."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    engine.dispose()

    assert found == []


def test_the_schema_names_the_newest_migration() -> None:
    """`REVISION` is the head of the migrations, so that a file of an older one is migrated."""
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == REVISION


async def test_the_documented_columns_are_there(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """`cost` is USD, generated from the nano-dollars, and null where these are; limits are USD too."""
    await ledger.settle(record("r_1", cost_nanos=1_234_567_890))
    await ledger.settle(record("r_2", cost_basis="unpriced", cost_nanos=None))

    costs = beside.execute("SELECT cost, typeof(cost) FROM usage_records ORDER BY seq").fetchall()
    assert costs == [(1.23456789, "real"), (None, "null")]
    assert beside.execute("SELECT name, daily_limit, is_active FROM budgets").fetchall() == [("default", 5.0, 1)]
    assert beside.execute("SELECT total_tokens, budget_id FROM usage_records").fetchall()[0] == (25, "b_default")


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_history_cannot_be_changed(ledger: Ledger, path: Path, table: str) -> None:
    """No connection can update or delete a record, a charge or an entry of the audit log."""
    await ledger.settle(record("r_1"))
    await ledger.save_budget(budget(daily_limit=6), {"actor": "ops"})
    await ledger.give(Grant("g_1", "b_default", "daily", 1_000, "a late run", NOON), "ops")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO archived VALUES ('r_0', '2024-11', NULL, NULL)")
        column = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


async def test_the_file_is_its_owners_alone(ledger: Ledger, path: Path) -> None:
    """Nobody else may read who spent what: not in the file, its log, or its index."""
    await ledger.reserve(hold("r_1"))

    for name in ("penia.db", "penia.db-wal", "penia.db-shm", "penia.db.lock"):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) == 0o600


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
async def test_durability_is_what_was_asked_for(path: Path, durability: Any, level: int) -> None:
    """`full` syncs at every commit, `normal` at checkpoints; both in WAL mode with foreign keys."""
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}", durability=durability), StillClock())
    connection = ledger._writer._connection
    answers = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode", "foreign_keys")
    ]
    await ledger.close()

    assert answers == [level, "wal", 1]


async def test_a_second_gateway_is_refused(ledger: Ledger, config: LedgerConfig, clock: StillClock) -> None:
    """A file has one writing process: the second is told which has it. Readers need no lock."""
    with pytest.raises(ConfigError, match=f"in use by another gateway \\(process {os.getpid()}\\)"):
        await Ledger.open(config, clock)

    assert examine(config.url).records == 0


async def test_the_lock_ends_with_the_ledger(config: LedgerConfig, clock: StillClock) -> None:
    """After `close`, the next ledger opens the same file."""
    for _ in range(2):
        ledger = await Ledger.open(config, clock)
        await ledger.close()


async def test_everything_is_there_after_a_restart(config: LedgerConfig, clock: StillClock) -> None:
    """Budgets come back as they were saved, oldest first."""
    ledger = await Ledger.open(config, clock)
    saved = [budget(), budget("b_team", timezone="Asia/Kathmandu", scope={"components": ["team-*"]})]
    for one in saved:
        await ledger.save_budget(one)
    await ledger.close()

    again = await Ledger.open(config, clock)
    found = await again.budgets()
    await again.close()
    assert [(one.budget_id, one.spec, one.calendar, one.created_at) for one in found] == [
        (one.budget_id, one.spec, one.calendar, one.created_at) for one in saved
    ]


def content_of(path: Path) -> bytes | None:
    """Read a file, if there is one."""
    return path.read_bytes() if path.is_file() else None


async def refused(path: Path, match: str) -> None:
    """Require that opening is refused, and that the file is as it was."""
    before = content_of(path)
    with pytest.raises(ConfigError, match=match):
        await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), StillClock())

    assert content_of(path) == before


@pytest.fixture
def minutes(path: Path) -> None:
    """Put something else where the ledger should be."""
    path.write_bytes(b"minutes of the meeting\n" * 1_000)


@pytest.mark.fault("D4")
@pytest.mark.usefixtures("minutes")
async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """What is not SQLite is left alone."""
    await refused(path, "not a ledger: restore it from a backup.*nothing was changed")


async def test_another_programs_database_is_refused(path: Path) -> None:
    """A database of something else gets none of our tables."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")

    await refused(path, "database of something else")


def damage(path: Path) -> None:
    """Overwrite everything between the first pages and the last."""
    content = bytearray(path.read_bytes())
    content[4096 * 3 : -4096] = b"?" * (len(content) - 4096 * 4)
    path.write_bytes(content)


@pytest.mark.fault("D4")
async def test_a_damaged_file_is_refused(path: Path, config: LedgerConfig, clock: StillClock) -> None:
    """Flipped bytes are found at the start, not under a call."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    for number in range(50):
        await ledger.settle(record(f"r_{number}"))
    await ledger.close()
    damage(path)

    await refused(path, "restore it from a backup")


@pytest.mark.fault("D4")
async def test_a_large_file_is_looked_at_while_it_is_used(
    path: Path,
    config: LedgerConfig,
    clock: StillClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What decides calls is looked at before the first, records beside them; what is damaged is told."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    for number in range(50):
        await ledger.settle(record(f"r_{number}"))
    await ledger.close()
    monkeypatch.setattr(checking, "AT_ONCE_MAX", 0)
    assert checking.look_at_rest(path) is None
    spoil(path, "charges")

    ledger = await Ledger.open(config, clock)
    looking = asyncio.create_task(ledger.keep_looking())
    async with asyncio.timeout(30):
        while ledger.damage is None:
            await asyncio.sleep(0.01)
    looking.cancel()
    await ledger.close()
    assert "is damaged (charges" in ledger.damage
    assert ledger.damage in caplog.text

    for needed in ("usage_records", "spend"):
        spoil(path, needed)
        await refused(path, "restore it from a backup")


def spoil(path: Path, table: str) -> None:
    """Overwrite a table's first page."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"?" * size
    path.write_bytes(content)


@pytest.mark.fault("D4")
async def test_a_newer_file_is_refused(path: Path, config: LedgerConfig, clock: StillClock) -> None:
    """A file of a newer version is not touched by this one."""
    await (await Ledger.open(config, clock)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    await refused(path, "written by a newer Penia")


def killed_with(path: Path) -> None:
    """Leave a file as a process that was killed does: with its log beside it."""
    child = multiprocessing.get_context("spawn").Process(target=killed.open_and_die, args=(str(path),))
    child.start()
    child.join()
    assert path.with_name("penia.db-wal").stat().st_size > 0


@pytest.mark.fault("D4")
@pytest.mark.parametrize("is_there", [True, False])
async def test_a_missing_log_is_told(
    path: Path, config: LedgerConfig, clock: StillClock, caplog: pytest.LogCaptureFixture, *, is_there: bool
) -> None:
    """After a crash what was acknowledged last is in the log: where that is gone the start says so, once."""
    killed_with(path)
    if not is_there:
        path.with_name("penia.db-wal").unlink()
    for _ in range(2):
        await (await Ledger.open(config, clock)).close()

    assert caplog.text.count("its log penia.db-wal is missing") == (0 if is_there else 1)
    assert examine(config.url).differences == []


async def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """The place for a file is made by people."""
    await refused(tmp_path / "nowhere" / "penia.db", "check that its directory exists")


@pytest.mark.fault("D3")
async def test_a_locked_file_is_refused(
    path: Path, config: LedgerConfig, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start beside a program that holds the database locked says so."""
    monkeypatch.setattr(ledger_file, "BUSY_TIMEOUT_S", 0.01)
    await (await Ledger.open(config, clock)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        await refused(path, "another program holds it locked")


@pytest.mark.fault("D4")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_cannot_be_written_is_refused(path: Path, config: LedgerConfig) -> None:
    """A file of somebody else is refused with what to check, in a child that is nobody."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    for directory in path.parents:  # pytest lets nobody else in
        if directory.name.startswith("pytest-"):
            directory.chmod(0o755)
    path.parent.chmod(0o777)
    path.chmod(0o444)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([killed.__name__])
    child = processes.Process(target=killed.open_as_nobody, args=(config.url,))
    child.start()
    child.join()

    assert child.exitcode == 0


async def test_a_budget_of_another_time_is_named(path: Path, config: LedgerConfig, clock: StillClock) -> None:
    """A stored budget that this version cannot read stops the start, instead of being left out."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("""UPDATE budgets SET spec = '{"name": "x", "enforcement": "pray"}'""")
        connection.commit()

    with pytest.raises(ConfigError, match="a budget that this version cannot read"):
        await Ledger.open(config, clock)


@pytest.mark.fault("K7")
async def test_a_migration_that_fails_leaves_nothing(
    path: Path, config: LedgerConfig, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has the old schema or the new one, never between."""
    upgrade = command.upgrade

    def interrupted(scripts: AlembicConfig, revision: str) -> None:
        upgrade(scripts, revision)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(command, "upgrade", interrupted)
    with pytest.raises(ConfigError):
        await Ledger.open(config, clock)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    monkeypatch.undo()
    await (await Ledger.open(config, clock)).close()


async def test_a_file_of_the_first_version_is_migrated(path: Path, config: LedgerConfig, clock: StillClock) -> None:
    """With its records and open holds, which have no once-keys."""
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "0001")
        connection.commit()
    engine.dispose()
    with closing(sqlite3.connect(path)) as old:
        old.execute(
            "INSERT INTO holds VALUES ('r_1', '2026-11-23T12:00:00.000000Z', 7, '[]', 'c', 'openai', 'm', NULL, '{}',"
            " 0, 1, 1, NULL)"
        )
        old.commit()
    ledger = await Ledger.open(config, clock)
    (expired,) = await ledger.recover()
    await ledger.close()

    assert (expired.record_id, expired.cost_nanos, expired.once_key) == ("r_1", 7, None)
    assert not examine(config.url).differences


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://localhost/penia", "penia.db", ""])
def test_only_files_are_ledgers(url: str) -> None:
    """What names no SQLite file is refused with what would."""
    with pytest.raises(ConfigError, match="sqlite:///path"):
        ledger_file.path_of(url)


async def test_a_path_may_hold_odd_characters(tmp_path: Path, clock: StillClock) -> None:
    """What means something in a URI is a character like any other in a path."""
    place = tmp_path / "a%20b c#d?e ü"
    place.mkdir()
    url = f"sqlite:///{place / 'penia.db'}"
    ledger = await Ledger.open(LedgerConfig.model_construct(url=url, durability="full"), clock)
    await ledger.save_budget(budget())
    await ledger.settle(record("r_1"))
    found = await ledger.queries.record("r_1")
    await ledger.close()

    assert found == record("r_1")
    assert {file.name for file in place.iterdir()} == {"penia.db", "penia.db.lock"}
    assert examine(url).records == 1
