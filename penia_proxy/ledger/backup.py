"""
Copy a ledger while it is written to.

Its one job: one file that is the ledger as of one instant, with its archives, checked before they get their names.
Rules: the ledger is only read, from one snapshot, so no write waits for it; its log grows meanwhile, as the snapshot
keeps it from being folded in. The copy is made beside its place under another name, mode 0600, synchronised, and
only then renamed: under its name there is never half of one. What was there stays unless replacing it was asked for.
Why not VACUUM INTO: it builds every tree anew, which costs several times the processor time of copying pages, and says
nothing of how far it is. Why the snapshot is held open: without it the copy begins again at each write
(https://www.sqlite.org/c3ref/backup_finish.html).
"""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from time import sleep

from penia_proxy.errors import ArchiveUnavailable, ConfigError
from penia_proxy.ledger.archives import ARCHIVES, Archive, Files, archives_of
from penia_proxy.ledger.file import (
    BESIDE,
    belonging_to,
    driver_of,
    explained,
    log_of,
    open_for_reading,
    path_of,
    read_only,
    revision_of,
)
from penia_proxy.ledger.schema import REVISION
from penia_proxy.ledger.verify import Findings, examine

PAGES_AT_ONCE = 1024
"""4 MB, synchronised before the next: a gateway's commit never waits behind more than that."""
PAUSE_S = 0.005
"""Between them, for commits of the gateway that wait for the disk."""

Progress = Callable[[int, int], None]
"""Told how many pages of how many are copied."""


def back_up(url: str, to: Path, *, force: bool, progress: Progress) -> Findings:
    """
    Copy the ledger of a ``sqlite:///`` URL, and its archives beside the copy; return what a verification found.

    A copy that is damaged is not kept. One that is whole, and whose figures differ as the ledger's own do, is; without
    the archives that cannot be read. Raises ConfigError where nothing can be copied, or not to there; OSError or
    sqlite3.Error where copying fails.
    """
    path, to = path_of(url), to.absolute()
    _require_place(path, to, force=force)
    with ExitStack() as stack, closing(Files(path)) as files:
        descriptor, made = stack.enter_context(_beside(to))
        _copy(path, made, descriptor, progress)
        known, names = _archives_in(made), Files(to)
        for archive in known:
            _require_no_archive(path, to, files.path_of(archive.month), names.path_of(archive.month), force=force)
        copies: dict[str, Path] = {}
        missed: dict[str, str] = {}
        for archive in known:
            place = stack.enter_context(_beside(names.path_of(archive.month)))
            try:
                with files.reading(archive) as connection:
                    _copy_pages(driver_of(connection), *place, progress)
                copies[archive.month] = place[1]
            except ArchiveUnavailable as error:
                missed[archive.month] = str(error)
        findings = _found(examine(f"sqlite:///{made}", Files(to, copies)), missed)
        if not any(difference.what == "file" for difference in findings.differences):
            for month, copy in copies.items():
                if month not in findings.unread:
                    _name(copy, names.path_of(month), force=force)
            _name(made, to, force=force)  # at last, so that it finds them
    return findings


def _found(findings: Findings, missed: Mapping[str, str]) -> Findings:
    """Return what was found, where what is missed is the ledger's own: a copy of it was never made."""
    said = [
        replace(one, stored=missed[one.key]) if one.what == "archive" and one.key in missed else one
        for one in findings.differences
    ]
    return replace(findings, differences=said)


def _archives_in(made: Path) -> list[Archive]:
    with open_for_reading(f"sqlite:///{made}") as connection:
        return archives_of(connection.execute(ARCHIVES).mappings().all())


def _require_no_archive(path: Path, to: Path, its: Path, name: Path, *, force: bool) -> None:
    if _is_same(to, its):
        raise ConfigError(f"{to} is an archive of {path}: name another file")
    if name.exists() and not force:
        raise ConfigError(f"{name} exists: name another file, or replace it with --force")


def _require_place(path: Path, to: Path, *, force: bool) -> None:
    if not path.exists():
        raise ConfigError(f"{path} does not exist: start the gateway once, or correct ledger.url")
    if to.is_dir():
        raise ConfigError(f"{to} is a directory: name the file that the backup is to be")
    # Also where there is none yet: SQLite would take the copy for its own journal.
    if any(_is_same(to, its) for its in belonging_to(path)):
        raise ConfigError(f"{to} belongs to the ledger that is to be copied: name another file")
    if log_of(to).exists() or log_of(to.resolve()).exists():
        raise ConfigError(f"{to} is a ledger in use: name another file")
    if any(to.name.endswith(suffix) and to.with_name(to.name.removesuffix(suffix)).is_file() for suffix in BESIDE):
        raise ConfigError(f"{to} is named as a file that belongs to a database beside it: name another file")
    if to.exists() and not force:
        raise ConfigError(f"{to} exists: name another file, or replace it with --force")


def _is_same(to: Path, its: Path) -> bool:
    if to.exists() and its.exists():
        return to.samefile(its)
    return to.resolve() == its.resolve()


@contextmanager
def _beside(to: Path) -> Iterator[tuple[int, Path]]:
    """Make an empty file for the copy, which is gone in the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=".partial", dir=to.parent)
    try:
        yield descriptor, Path(name)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _copy(path: Path, made: Path, descriptor: int, progress: Progress) -> None:
    with explained(path), closing(sqlite3.connect(read_only(path), uri=True, isolation_level=None)) as ledger:
        ledger.execute("BEGIN")
        if revision_of(ledger) != REVISION:  # reads, and so begins the snapshot
            raise ConfigError(f"{path} is of another version of Penia: back it up with that one")
        _copy_pages(ledger, descriptor, made, progress)


def _copy_pages(source: sqlite3.Connection, descriptor: int, made: Path, progress: Progress) -> None:
    def step(_status: int, remaining: int, total: int) -> None:
        os.fsync(descriptor)
        progress(total - remaining, total)
        sleep(PAUSE_S)

    with closing(sqlite3.connect(made, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # a copy that a crash breaks has no name yet
        source.backup(copy, pages=PAGES_AT_ONCE, progress=step)
        # One file and no log beside it: it can be moved, and read where nothing can be written.
        copy.execute("PRAGMA journal_mode = DELETE")
    os.fsync(descriptor)


def _name(made: Path, to: Path, *, force: bool) -> None:
    if force:
        made.replace(to)
    else:
        os.link(made, to)  # refuses what has appeared there meanwhile, as a rename would not
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
