"""
Keep the ledger's file in shape.

Its one job: what SQLite wants done now and then, behind what else is for quiet times (months that are archived), in
steps short enough for a call to wait for one.
Rules: the writer's thread does it, when nothing was written for IDLE_S and not again within EVERY_S. Between two steps
it asks whether anybody waits, and leaves the rest for the next quiet time. It is no move, as a checkpoint cannot
be part of a transaction; and it changes no figure, so whatever fails is logged and counts as nothing.

Why not `PRAGMA optimize`: it looks only at tables whose statistics the planner has wanted on the same connection, and
the writer's asks for keys; that it is to look at all (0x10000) can be said from SQLite 3.46 on, and Debian 12 has 3.40
(https://www.sqlite.org/pragma.html#pragma_optimize). A table of few rows gets none: without, the planner takes it for
large and goes by its indexes, and so it should until it is.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

log = logging.getLogger(__name__)

IDLE_S = 5.0
EVERY_S = 4 * 3600.0
ANALYSIS_ROWS = 400
"""Looked at per index: SQLite's own advice (https://www.sqlite.org/lang_analyze.html) is 100 to 1000."""
ROWS_WORTH = 10_000
"""A table that has fewer goes without statistics."""
PAGES_AT_ONCE = 256
"""Given back to the file system in one step: 1 MB."""


_DONE = object()
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


def tidy(connection: sqlite3.Connection, wanted: Callable[[], bool], first: Iterable[None] = ()) -> bool:
    """
    Do what there is to do until the writer is ``wanted``; return whether all of it is done.

    ``first`` are steps that leave something to be tidied.
    """
    steps: Iterator[object] = chain(first, _steps(connection))
    try:
        while not wanted():
            if next(steps, _DONE) is _DONE:
                return True
    except sqlite3.Error as error:
        log.warning("the ledger could not be tidied: %s", error)
        return True
    return False


def _steps(connection: sqlite3.Connection) -> Iterator[object]:
    def do(statement: str) -> object:
        return connection.execute(statement).fetchall()

    yield do(f"PRAGMA analysis_limit = {ANALYSIS_ROWS}")
    for (table,) in connection.execute(_TABLES).fetchall():
        if connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1 OFFSET {ROWS_WORTH - 1}').fetchone():  # noqa: S608
            yield do(f'ANALYZE "{table}"')
    while free := _number(connection, "freelist_count"):
        yield do(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
        if _number(connection, "freelist_count") == free:
            break  # a file made before it was asked for: only a rewrite would give its pages back, so they are reused
    # Last, so that the file has all of it. It waits for no reader; the next write begins the log anew.
    yield do("PRAGMA wal_checkpoint(PASSIVE)")


def _number(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
