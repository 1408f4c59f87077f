"""
Move closed months to their archives.

Its one job: a month that has been over for so many months leaves the ledger's file for one of its own, a few records a
step.
Rules: a step is a transaction of one file, so that a crash between any two leaves nothing in both places or in none.
First all of a month is copied; nobody sees that yet. Then, in the order of writing, records that read back the same
there as here are deleted here, and `until_seq`, which says where they are, moves in the same transaction. What is
dated into such a month later is moved likewise, to the same file. Sums and counters stay as they are.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ids import new_id
from penia_proxy.ledger import statements as sql
from penia_proxy.ledger.archive_file import columns_of, open_archive
from penia_proxy.ledger.archives import Archive, Files
from penia_proxy.ledger.schema import charges, usage_records

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 100
"""Seven milliseconds on a busy machine, which a call that comes meanwhile waits for."""

_RECORDS = ", ".join(columns_of(usage_records))
_CHARGES = ", ".join(columns_of(charges))
_GIVEN = "(SELECT value FROM json_each(?))"
"""Numbers, as one parameter."""

NEXT_TO_COPY = f"""
SELECT {_RECORDS} FROM usage_records
WHERE (timestamp, seq) > (?, ?) AND timestamp < ? AND seq <= ? ORDER BY timestamp, seq LIMIT ?
"""  # noqa: S608 - the schema's names
NEXT_TO_MOVE = f"SELECT {_RECORDS} FROM usage_records WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
THOSE_RECORDS = f"SELECT {_RECORDS} FROM usage_records WHERE seq IN {_GIVEN} ORDER BY seq"  # noqa: S608
THOSE_CHARGES = f"""
SELECT {_CHARGES} FROM charges WHERE record_seq IN {_GIVEN} ORDER BY record_seq, budget_id
"""  # noqa: S608
COPIED = "SELECT timestamp, seq FROM usage_records WHERE seq > ? ORDER BY timestamp DESC, seq DESC LIMIT 1"
KEEP = f"""
INSERT INTO archived (record_id, month, fingerprint, once_key)
SELECT record_id, ?, fingerprint, once_key FROM usage_records WHERE seq IN {_GIVEN}
"""  # noqa: S608
DELETE_CHARGES = f"DELETE FROM charges WHERE record_seq IN {_GIVEN}"  # noqa: S608
DELETE_RECORDS = f"DELETE FROM usage_records WHERE seq IN {_GIVEN}"  # noqa: S608
MOVED = """
UPDATE archives SET until_seq = ?, records = records + ?, cost_nanos = cost_nanos + ? WHERE month = ?
"""
OLDEST = "SELECT min(timestamp) FROM usage_records"
BEGIN = f"""
INSERT INTO archives ({", ".join(Archive._fields)}) VALUES (?, ?, ?, 0, 0, 0, ?)
ON CONFLICT (month) DO UPDATE SET copy_until = excluded.copy_until, first_at = min(first_at, excluded.first_at)
"""  # noqa: S608
FIND = f"SELECT {', '.join(Archive._fields)} FROM archives WHERE month = ?"  # noqa: S608
LEFT = "SELECT 1 FROM usage_records WHERE timestamp >= ? AND timestamp < ? AND seq <= ? LIMIT 1"
COUNT = "SELECT count(*) FROM usage_records WHERE timestamp >= ? AND timestamp < ?"

_SEQ, _TIMESTAMP, _COST = (columns_of(usage_records).index(name) for name in ("seq", "timestamp", "cost_nanos"))
_RECORD_SEQ = columns_of(charges).index("record_seq")

MOVING = "moving"
"""What a problem is noted of that is no month's."""

Rows = Sequence[tuple[Any, ...]]
Progress = Callable[[str, int], None]
"""Told the month, and how many records of it are moved now."""


def is_due(month: str, now: datetime, retention_months: int) -> bool:
    """Whether a month (2024-11) has been over for so many months."""
    return 12 * now.year + now.month - 12 * int(month[:4]) - int(month[5:]) > retention_months


def due(connection: sqlite3.Connection, now: datetime, retention_months: int) -> Iterator[tuple[str, int]]:
    """Yield the months that a run would move, oldest first, and how many records of each are here."""
    after = ""
    find = "SELECT min(timestamp) FROM usage_records WHERE timestamp >= ?"
    while (oldest := connection.execute(find, (after,)).fetchone()[0]) and is_due(oldest[:7], now, retention_months):
        span = Archive(oldest[:7], "", 0, 0, 0, 0, oldest)
        yield span.month, connection.execute(COUNT, (span.start, span.end)).fetchone()[0]
        after = span.end


class Archiving:
    """The moving of months of one ledger."""

    def __init__(self, files: Files, retention_months: int, now: Callable[[], datetime]) -> None:
        self._files = files
        self._retention_months = retention_months
        self._now = now

    def look(self, ledger: sqlite3.Connection) -> None:
        """Note which archives there are, and which of them can be read."""
        self._files.look([Archive(*row) for row in ledger.execute(sql.ALL_ARCHIVES)])

    def quietly(self, ledger: sqlite3.Connection) -> Iterator[None]:
        """Take the steps, and look after what there is; what fails is logged, and begun again another time."""
        problem = None
        try:
            yield from self.steps(ledger)
        except (ArchiveUnavailable, OSError, sqlite3.Error) as error:
            problem = str(error) if isinstance(error, ArchiveUnavailable) else f"A month cannot be archived: {error}."
        self._files.note(MOVING, problem)
        self.look(ledger)
        yield

    def steps(self, ledger: sqlite3.Connection, told: Progress = lambda _month, _moved: None) -> Iterator[None]:
        """
        Move what is due, a step at each turn. To be given up at any of them, and begun again.

        ``ledger`` is the connection that writes. Raises ArchiveUnavailable, OSError, sqlite3.Error.
        """
        while (oldest := ledger.execute(OLDEST).fetchone()[0]) and self._is_due(oldest[:7]):
            archive = _begin(ledger, oldest, self._files.path_of(oldest[:7]))
            yield
            for moved in _move(ledger, archive, self._files.path_of(archive.month)):
                told(archive.month, moved)
                yield
            _require_same(ledger.execute(*_left(archive)).fetchone(), None, archive.month)
            log.info("%s is archived: %s", archive.month, self._files.path_of(archive.month))

    def _is_due(self, month: str) -> bool:
        return is_due(month, self._now(), self._retention_months)


def _begin(ledger: sqlite3.Connection, oldest: str, path: Path) -> Archive:
    """Return the archive of the month of the oldest record, with what of it is to be moved."""
    month = oldest[:7]
    known = ledger.execute(FIND, (month,)).fetchone()
    archive = None if known is None else Archive(*known)
    if archive is not None and ledger.execute(*_left(archive)).fetchone():
        return archive  # which was begun before
    if archive is None and path.exists():
        raise ArchiveUnavailable(f"{path} is no archive that this ledger knows: move it elsewhere.")
    newest = ledger.execute(sql.NEWEST).fetchone()[0]
    ledger.execute(BEGIN, (month, new_id("m"), newest, oldest))
    return Archive(*ledger.execute(FIND, (month,)).fetchone())


def _left(archive: Archive) -> tuple[str, tuple[object, ...]]:
    """Return what finds out whether there is more to be moved of what is on its way."""
    return LEFT, (archive.start, archive.end, archive.copy_until)


def _move(ledger: sqlite3.Connection, archive: Archive, path: Path) -> Iterator[int]:
    """Copy, then delete what is copied; yield after each step how many are deleted by it."""
    with open_archive(path, archive) as file:
        at = file.execute(COPIED, (archive.until_seq,)).fetchone() or (archive.start, 0)
        while rows := ledger.execute(NEXT_TO_COPY, (*at, archive.end, archive.copy_until, RECORDS_AT_ONCE)).fetchall():
            _insert(file, rows, ledger.execute(THOSE_CHARGES, (_numbers(rows),)).fetchall())
            at = rows[-1][_TIMESTAMP], rows[-1][_SEQ]
            yield 0
        until = archive.until_seq
        while rows := file.execute(NEXT_TO_MOVE, (until, RECORDS_AT_ONCE)).fetchall():
            _delete(ledger, archive.month, rows, file.execute(THOSE_CHARGES, (_numbers(rows),)).fetchall())
            until = rows[-1][_SEQ]
            yield len(rows)
        file.execute("PRAGMA journal_mode = DELETE")  # leaves one file


def _insert(file: sqlite3.Connection, rows: Rows, charged: Rows) -> None:
    file.execute("BEGIN IMMEDIATE")
    try:
        for table, its in ((usage_records, rows), (charges, charged)):
            marks = ", ".join("?" * len(columns_of(table)))
            file.executemany(f"INSERT INTO {table.name} ({', '.join(columns_of(table))}) VALUES ({marks})", its)  # noqa: S608
        file.execute("COMMIT")
    except BaseException:
        file.execute("ROLLBACK")
        raise


def _delete(ledger: sqlite3.Connection, month: str, rows: Rows, charged: Rows) -> None:
    """Take records out of the ledger that are in a file. Raises ArchiveUnavailable where they differ."""
    numbers = _numbers(rows)
    ledger.execute("BEGIN IMMEDIATE")
    try:
        ours = [ledger.execute(statement, (numbers,)).fetchall() for statement in (THOSE_RECORDS, THOSE_CHARGES)]
        _require_same(ours, [rows, charged], month)
        ledger.execute(KEEP, (month, numbers))
        ledger.execute(DELETE_CHARGES, (numbers,))
        ledger.execute(DELETE_RECORDS, (numbers,))
        cost = sum(row[_COST] or 0 for row in rows)
        ledger.execute(MOVED, (rows[-1][_SEQ], len(rows), cost, month))
        ledger.execute("COMMIT")
    except BaseException:
        if ledger.in_transaction:
            ledger.execute("ROLLBACK")
        raise


def _require_same(ours: object, theirs: object, month: str) -> None:
    if ours != theirs:
        raise ArchiveUnavailable(f"The archive of {month} differs from the ledger: move its file elsewhere.")


def _numbers(rows: Rows) -> str:
    return orjson.dumps([row[_SEQ] for row in rows]).decode()
