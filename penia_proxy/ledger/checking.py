"""
Look for damage in a ledger's file.

Its one job: SQLite's own check of its pages, at the start of what calls are decided by, and of the rest beside them.
Rules: a damaged page is found before a call needs it. The tables that grow with calls are most of a large file, and
reading them may take minutes, in which nobody could call: of a large file they are looked at while it is used.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

log = logging.getLogger(__name__)

AT_ONCE_MAX = 256 * 2**20
"""Bytes of a file that is looked at wholly before it is used: a second or two, also where nothing of it is cached."""
GROWING = ("usage_records", "charges", "rollups", "folds", "folds_by_name")


def look_at_start(connection: sqlite3.Connection, path: Path) -> None:
    """Raise sqlite3.DatabaseError for damage that matters at the start: of a small file, all of it."""
    if path.stat().st_size <= AT_ONCE_MAX:
        _look(connection, "PRAGMA quick_check(1)")
        return
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (table,) in tables.fetchall():
        if table not in GROWING:
            _look_at(connection, table)


def look_at_rest(path: Path) -> str | None:
    """Return what is damaged of what a start has left out, None for nothing. Takes as long as reading the file does."""
    if path.stat().st_size <= AT_ONCE_MAX:
        return None
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        for table in GROWING:  # each in a snapshot of its own, so that the log is folded in between
            try:
                _look_at(connection, table)
            except sqlite3.DatabaseError as error:
                problem = f"{path} is damaged ({table}: {error}): stop Penia, and restore it from a backup"
                log.critical("%s", problem)
                return problem
    log.info("no damage in all of %s", path)
    return None


def _look_at(connection: sqlite3.Connection, table: str) -> None:
    _look(connection, f"PRAGMA quick_check({table})")


def _look(connection: sqlite3.Connection, check: str) -> None:
    verdict = connection.execute(check).fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")
