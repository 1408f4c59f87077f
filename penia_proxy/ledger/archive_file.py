"""
Write a month's file.

Its one job: the file of an archive: made, with the tables of its records and what it is, and opened for writing.
Rules: its tables and indexes are the ledger's own, so that the same statements find the same in both; without foreign
keys, as what they name is elsewhere. A transaction that has ended stays: the ledger deletes what it has read back.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.archives import Archive
from penia_proxy.ledger.schema import charges, usage_records

TABLES = (usage_records, charges)
_DIALECT = sqlite.dialect()
_SAYS = """
CREATE TABLE IF NOT EXISTS archive (month TEXT NOT NULL, archive_id TEXT NOT NULL, copy_until INTEGER NOT NULL)
"""


@contextmanager
def open_archive(path: Path, archive: Archive) -> Iterator[sqlite3.Connection]:
    """
    Open the file of an archive for writing; make it where there is none and nothing is lost.

    What a copy that was not gone on with has left beyond `until_seq` is gone. Raises ArchiveUnavailable for a file that
    is another's or missing, OSError or sqlite3.Error where it cannot be written.
    """
    is_new = not path.exists()
    if is_new:
        if archive.records:
            raise ArchiveUnavailable(f"The archive of {archive.month} is missing: put {path} back.")
        _make(path)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        # The journal is emptied, and that is on disk, before a commit returns: deleted, it could come back.
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SAYS)
        said = connection.execute("SELECT archive_id, copy_until FROM archive").fetchone()
        if said is not None and said[0] != archive.archive_id:
            raise ArchiveUnavailable(f"{path} is not this ledger's archive of {archive.month}: move it elsewhere.")
        for table in TABLES:
            _bring_up_to_date(connection, table)
        if said != (archive.archive_id, archive.copy_until):
            _begin_anew(connection, archive)
        connection.execute("COMMIT")
        yield connection


def columns_of(table: Table) -> list[str]:
    """Return the columns that are written."""
    return [column.name for column in table.columns if column.computed is None]


def _make(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _bring_up_to_date(connection: sqlite3.Connection, table: Table) -> None:
    """Make a table; one that an earlier version has made is given what it lacks."""
    connection.execute(
        str(CreateTable(table, include_foreign_key_constraints=[], if_not_exists=True).compile(dialect=_DIALECT))
    )
    there = {row[1] for row in connection.execute(f"PRAGMA table_xinfo({table.name})")}
    for column in table.columns:
        if column.name not in there:
            connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {column.type.compile(_DIALECT)}")
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        connection.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT)))


def _begin_anew(connection: sqlite3.Connection, archive: Archive) -> None:
    connection.execute("DELETE FROM charges WHERE record_seq > ?", (archive.until_seq,))
    connection.execute("DELETE FROM usage_records WHERE seq > ?", (archive.until_seq,))
    connection.execute("DELETE FROM archive")
    connection.execute("INSERT INTO archive VALUES (?, ?, ?)", (archive.month, archive.archive_id, archive.copy_until))
