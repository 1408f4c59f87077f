"""
Read months that have a file of their own.

Its one job: which archives there are, where their files lie, and what a statement finds in one.
Rules: a file is found by its ledger's name, and believed by the id that both have. What it has up to `until_seq` never
changes, so that it fits every snapshot of the ledger that knows this. A file that is missing, damaged, another's or
older is an ArchiveUnavailable that names the month, at whatever needs it, and never a gap in an answer.
"""

import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, RowMapping, Select, Table, create_engine, func, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import Executable

from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.schema import archives, usage_records

log = logging.getLogger(__name__)

OPEN_MAX = 32
"""Files that are kept open between two questions: what was read last is read next."""
CACHE_KIB = 512
"""Of each of them, in memory."""
_ID = "SELECT archive_id FROM archive"
_NEWEST = "SELECT max(seq) FROM usage_records"


class Archive(NamedTuple):
    """A month, and what of it is in its file, as the ledger says."""

    month: str
    archive_id: str
    copy_until: int
    until_seq: int
    records: int
    cost_nanos: int
    first_at: str

    @property
    def start(self) -> str:
        """Return the month's first instant, as `clock.iso` writes it."""
        return f"{self.month}-01T00:00:00.000000Z"

    @property
    def end(self) -> str:
        """Return the next month's."""
        return f"{month_after(self.month)}-01T00:00:00.000000Z"


def month_after(month: str) -> str:
    """Return the next month's name."""
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


ARCHIVES = select(*(archives.c[name] for name in Archive._fields)).order_by(archives.c.month.desc())
"""All there are, the newest first, as `archives_of` reads them."""


def newest_record() -> Select[Any]:
    """Return the statement of the ``seq`` of the newest record, wherever that is; 0 where there is none."""
    numbers = (usage_records.c.seq, archives.c.until_seq)
    ends = (select(func.coalesce(func.max(one), literal_column("0"))).scalar_subquery() for one in numbers)
    return select(func.max(*ends).label("seq"))


def archives_of(rows: Iterable[Mapping[str, Any] | RowMapping]) -> list[Archive]:
    """Return the archives that have records."""
    return [archive for archive in (Archive(**row) for row in rows) if archive.records]


@dataclass(slots=True)
class _Opened:
    """A file that is open for reading."""

    connection: Connection
    archive_id: str
    newest: int
    """The greatest `seq` in it when that was looked at last."""
    identity: tuple[int, int]
    """Which file it is, whatever has its name by now."""


class Files:
    """The archives' files of one ledger, for any thread."""

    def __init__(self, ledger: Path, places: Mapping[str, Path] | None = None) -> None:
        """``places``: of months whose files do not lie beside the ledger."""
        self.ledger = ledger.resolve()
        self._places = places or {}
        self._lock = threading.Lock()
        self._idle: OrderedDict[tuple[str, int], _Opened] = OrderedDict()
        """By month and a number that tells those apart that several threads have opened; the newest used last."""
        self._opened = 0
        self._opening = self.ledger
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        self._problems: dict[str, str] = {}
        self._known: Sequence[Archive] = ()
        """Those that have records, as of the last look."""

    def path_of(self, month: str) -> Path:
        """Return where a month's file is, or would be: beside the ledger, under its name."""
        usual = self.ledger.with_name(f"{self.ledger.stem}-{month}{self.ledger.suffix}")
        return self._places.get(month, usual)

    @property
    def months(self) -> int:
        """Return how many there were when somebody looked last."""
        return len(self._known)

    @property
    def problem(self) -> str | None:
        """Why the newest month that cannot be read cannot be; None where all that were asked for last could."""
        problems = dict(self._problems)
        return problems[max(problems)] if problems else None

    def note(self, month: str, problem: str | None) -> None:
        """Keep what is wrong with a month, or that nothing is; log what is new."""
        if problem is None:
            over = self._problems.pop(month, None)
            if over is not None:
                log.warning("no longer so: %s", over)
        elif self._problems.get(month) != problem:
            self._problems[month] = problem
            log.error("%s", problem)

    def look(self, known: Iterable[Archive]) -> None:
        """Note which archives have records, and which of them can be opened."""
        self._known = [archive for archive in known if archive.records]
        self._open_each(self._known)

    def look_again(self) -> None:
        """Note which of those that were wrong can be opened now, and which others are gone."""
        self._open_each(one for one in self._known if one.month in self._problems or not self._is_there(one.month))

    def rows(self, archive: Archive, statement: Executable) -> Sequence[RowMapping]:
        """Return what a statement finds. Raises ArchiveUnavailable."""
        with self.reading(archive) as connection:
            return connection.execute(statement).mappings().all()

    def streamed(self, archive: Archive, statement: Select[Any], at_once: int) -> Iterator[Row[Any]]:
        """Yield what a statement finds, so many rows in memory at a time. Raises ArchiveUnavailable."""
        with self.reading(archive) as connection:
            yield from connection.execute(statement, execution_options={"yield_per": at_once})

    @contextmanager
    def reading(self, archive: Archive) -> Iterator[Connection]:
        """Lend a connection to a month's file. Raises ArchiveUnavailable, also for what fails while it is lent."""
        try:
            opened = self._take(archive)
            try:
                yield opened.connection
            except BaseException:
                opened.connection.close()
                raise
        except (sqlite3.Error, DBAPIError, OSError) as error:
            raise self._unavailable(archive.month, error) from error
        self._give_back(archive.month, opened)
        self.note(archive.month, None)

    def close(self) -> None:
        """Close what nobody reads."""
        with self._lock:
            idle = list(self._idle.values())
            self._idle.clear()
        for one in idle:
            one.connection.close()

    def _is_there(self, month: str) -> bool:
        try:
            self.path_of(month).stat()
        except OSError:
            return False
        return True

    def _open_each(self, which: Iterable[Archive]) -> None:
        for archive in which:
            with suppress(ArchiveUnavailable):  # which is noted
                self.rows(archive, select(1))

    def _unavailable(self, month: str, error: Exception) -> ArchiveUnavailable:
        path, found = self.path_of(month), getattr(error, "orig", None) or error
        if isinstance(found, FileNotFoundError):
            why = f"{path} is missing: put it back, from where it is or from a backup"
        else:
            why = f"{path}: {found}: restore it from a backup"
        problem = f"The archive of {month} cannot be read: {why}."
        self.note(month, problem)
        return ArchiveUnavailable(problem)

    def _take(self, archive: Archive) -> _Opened:
        path = self.path_of(archive.month)
        is_now = path.stat()
        identity = is_now.st_dev, is_now.st_ino
        with self._lock:
            key = next((key for key in reversed(self._idle) if key[0] == archive.month), None)
            opened = None if key is None else self._idle.pop(key)
        if opened is not None and opened.identity != identity:
            opened.connection.close()
            opened = None
        if opened is None:
            opened = self._open(path, identity)
        try:
            _believe(opened, archive)
        except BaseException:
            opened.connection.close()
            raise
        return opened

    def _open(self, path: Path, identity: tuple[int, int]) -> _Opened:
        with self._lock:
            self._opening = path
            connection = self._engine.connect()
        try:
            archive_id = connection.exec_driver_sql(_ID).scalar_one_or_none()
            return _Opened(connection, str(archive_id), 0, identity)
        except BaseException:
            connection.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        # For writing, so that what a crash left of a step is rolled back here; and then for reading only.
        uri = f"{self._opening.as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            _complete(connection, usage_records)
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, month: str, opened: _Opened) -> None:
        opened.connection.rollback()  # ends what SQLAlchemy takes for a transaction
        with self._lock:
            self._opened += 1
            self._idle[month, self._opened] = opened
            oldest = self._idle.popitem(last=False)[1] if len(self._idle) > OPEN_MAX else None
        if oldest is not None:
            oldest.connection.close()


def _complete(connection: sqlite3.Connection, table: Table) -> None:
    """Have columns that later versions have added read as null, where an earlier one has made the file."""
    there = {row[1] for row in connection.execute(f"PRAGMA main.table_xinfo({table.name})")}
    lacking = [column.name for column in table.columns if column.name not in there]
    if there and lacking:
        columns = ", ".join(["*", *(f"NULL AS {name}" for name in lacking)])
        # In front of the table of this name, for this connection alone.
        connection.execute(f"CREATE TEMP VIEW {table.name} AS SELECT {columns} FROM main.{table.name}")  # noqa: S608


def _believe(opened: _Opened, archive: Archive) -> None:
    """Require that a file is what the ledger knows. Raises OSError."""
    if opened.archive_id != archive.archive_id:
        raise OSError("it is not this ledger's")
    if opened.newest < archive.until_seq:
        opened.newest = opened.connection.exec_driver_sql(_NEWEST).scalar() or 0
    if opened.newest < archive.until_seq:
        raise OSError("it is older than the ledger: records are missing")
