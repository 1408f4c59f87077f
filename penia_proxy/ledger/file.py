"""
Open the ledger's file.

Its one job: from ``ledger.url`` to a checked, migrated, locked SQLite file and its connections.
Rules: a file is created when there is none, and never replaced: what cannot be used is refused with a ConfigError that
says what to do. One process writes, kept apart by a lock file; readers take no lock and open read-only.
"""

import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ConfigError, InvariantError
from penia_proxy.ledger.checking import look_at_start
from penia_proxy.ledger.schema import REVISION

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 1.0
"""How long a write waits for another process's lock, e.g. a backup's, before it counts as failed."""
CHECKPOINT_PAGES = 4_000
"""Of the write-ahead log (16 MB): a page that many calls touch is then written back once for more of them."""
JOURNAL_BYTES_MAX = 64 * 1024 * 1024
"""What the write-ahead log shrinks back to after a long reader let it grow."""

READERS_MAX = 4
WAIT_S = 10.0
"""How long a question waits for one of twice as many connections."""

BESIDE = ("-wal", "-shm", "-journal", ".lock")
"""What is behind a ledger's name in the names of the files that belong to it."""

LOGGING = b" logging"
"""In the lock file, behind the owner's number."""

_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL"}


def path_of(url: str) -> Path:
    """Return the file that a ``sqlite:///`` URL names, as it is written. Raises ConfigError for anything else."""
    name = url.removeprefix("sqlite:///")
    if name == url or name.strip("/") in ("", ".", ":memory:") or "\0" in name:
        raise ConfigError("ledger.url must name a file: sqlite:///path, or sqlite:////path from the root")
    return Path(name).absolute()


def belonging_to(path: Path) -> list[Path]:
    """Return where the files of a ledger are, or would be: beside its name, and beside what that is a link to."""
    names = dict.fromkeys([path, path.resolve()])
    return [name.with_name(name.name + suffix) for name in names for suffix in ("", *BESIDE)]


class FileLock:
    """The right to write to a file, held by one open ledger. Ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock of a database file. Raises ConfigError if another has it, OSError if it cannot be made."""
        self._descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(self._descriptor)
        except OSError as error:
            owner, *_ = os.read(self._descriptor, 64).decode(errors="replace").split() or ["unknown"]
            os.close(self._descriptor)
            raise ConfigError(
                f"{path} is in use by another gateway (process {owner}): stop it, or give this one its own ledger.url"
            ) from error
        was_logging = os.read(self._descriptor, 64).endswith(LOGGING)
        self.lacks_log = was_logging and not log_of(path).exists()
        """Whether the last process to hold it ended with a log beside the file that is not there now."""
        self._say(b"")

    def logs(self) -> None:
        """Say that from now on what is written is in the log first."""
        self._say(LOGGING)

    def release(self) -> None:
        """Let others write. The lock file stays: removing it would race with whoever waits for it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _say(self, more: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, str(os.getpid()).encode() + more)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def open_for_writing(config: LedgerConfig) -> tuple[Path, FileLock, sqlite3.Connection]:
    """Lock, create if missing, check and migrate the file; return the connection that writes. Raises ConfigError."""
    path = path_of(config.url)
    with explained(path):
        lock = FileLock(path)
        try:
            if lock.lacks_log:
                log.warning(
                    "%s was in use when its last process ended, and its log %s is missing: unless another program has"
                    " opened the file since, and so folded the log in, what was written last is lost",
                    path,
                    log_of(path).name,
                )
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _prepare(path)
            connection = _writer(path, config.durability)
            if log_of(path).exists():
                lock.logs()
            return path, lock, connection
        except BaseException:
            lock.release()
            raise


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a file is while it is in use."""
    return path.with_name(f"{path.name}-wal")


def read_only(path: Path) -> str:
    """Return the URI under which SQLite opens the file for reading only."""
    return f"{path.as_uri()}?mode=ro"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says about an unusable file into a ConfigError that says what to do."""
    try:
        yield
    except DBAPIError as error:
        raise ConfigError(_remedy(path, str(error.orig))) from error
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(_remedy(path, str(error))) from error


def reading(path: Path) -> AsyncEngine:
    """Return an engine whose connections can only read, each transaction from one snapshot."""
    url = URL.create("sqlite+aiosqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"})
    engine = create_async_engine(
        url,
        pool_size=READERS_MAX,
        max_overflow=READERS_MAX,
        pool_timeout=WAIT_S,
        connect_args={"isolation_level": None},
    )
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def open_for_reading(url: str) -> Iterator[Connection]:
    """
    Yield a connection that can only read, beside whoever writes, in whichever thread uses it.

    Raises ConfigError for a file that is missing, no ledger, or of another version.
    """
    path = path_of(url)
    if not path.exists():
        raise ConfigError(f"{path} does not exist: start the gateway once, or correct ledger.url")
    engine = create_engine("sqlite://", creator=lambda: _reader(path), poolclass=NullPool)
    try:
        with explained(path), engine.connect() as connection:
            if revision_of(driver_of(connection)) != REVISION:
                raise ConfigError(
                    f"{path} is of another version of Penia: start this version's gateway once to migrate it"
                )
            yield connection
    finally:
        engine.dispose()


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return what SQLAlchemy's connection is made of."""
    file = connection.connection.driver_connection
    if not isinstance(file, sqlite3.Connection):
        raise InvariantError("the ledger is read by another driver than sqlite3")
    return file


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(read_only(path), uri=True, isolation_level=None, check_same_thread=False)


def revision_of(connection: sqlite3.Connection) -> str | None:
    """Return the migration a file is at; None for a new one. Raises ConfigError for a database that is not a ledger."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    row = None
    if "alembic_version" in tables and "usage_records" in tables:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise ConfigError("ledger.url names a database of something else: use a file of its own; nothing was changed")
    return str(row[0])


def _prepare(path: Path) -> None:
    connection = _connect(path)
    try:
        look_at_start(connection, path)
        revision = revision_of(connection)
        if revision is None:
            # Only ever possible before the first table: later it takes a rewrite of the file.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    if revision != REVISION:
        _migrate(path)


def _migrate(path: Path) -> None:
    """Bring the tables up to date in one transaction."""
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = create_engine("sqlite://", creator=lambda: _connect(path), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            # Spelled out, because sqlite3's own transactions do not cover DDL.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            scripts.attributes["connection"] = connection
            command.upgrade(scripts, "head")
            connection.commit()
    except CommandError as error:
        raise ConfigError(
            f"{path} was written by a newer Penia: run that version, or restore a backup; nothing was changed"
        ) from error
    finally:
        engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def _writer(path: Path, durability: str) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        connection.execute("PRAGMA foreign_keys = ON")
        # Without it, INSERT OR REPLACE would delete past the append-only triggers.
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
        # A file that can be read but not written is found here.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def _remedy(path: Path, problem: str) -> str:
    if "malformed" in problem or "not a database" in problem:
        advice = "it is damaged or not a ledger: restore it from a backup, or name another file in ledger.url"
    elif "locked" in problem or "busy" in problem:
        advice = "another program holds it locked: let that finish, then start again"
    elif "readonly" in problem or "Permission" in problem or "unable to open" in problem or "No such" in problem:
        advice = "check that its directory exists and that this user may write to both"
    else:
        advice = "see what the system says, and start again"
    return f"{path} cannot be used ({problem}): {advice}; nothing was changed"
