"""
Prove the archives, and read them together with the ledger.

Its one job: for a verification, each file's own soundness, and the rows of all files in the order of one.
Rules: archives are read one after another, in the order of their months, beside the ledger's own: memory and open files
do not grow with their number. A month that cannot be read is one finding, and what depends on it is not compared.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.archives import ARCHIVES, Archive, Files, archives_of
from penia_proxy.ledger.differences import Difference
from penia_proxy.ledger.schema import archived, archives, usage_records

ROWS_AT_ONCE = 1000

UNKNOWN = """
SELECT count(*) FROM usage_records AS r LEFT JOIN ledger.archived AS a ON a.record_id = r.record_id
WHERE r.seq <= :until
  AND (a.month IS NOT :month OR a.fingerprint IS NOT r.fingerprint OR a.once_key IS NOT r.once_key)
"""
ORPHANS = """
SELECT record_id, corrects FROM usage_records AS r WHERE corrects IS NOT NULL AND seq <= :until
  AND NOT EXISTS (SELECT 1 FROM ledger.archived WHERE record_id = r.corrects)
  AND NOT EXISTS (SELECT 1 FROM ledger.usage_records WHERE record_id = r.corrects)
"""
LOST = """
SELECT record_id, corrects FROM usage_records AS r WHERE corrects IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM archived WHERE record_id = r.corrects)
  AND NOT EXISTS (SELECT 1 FROM usage_records WHERE record_id = r.corrects)
"""

Key = Callable[[Row[Any]], Any]
Made = Callable[[int | None], Select[Any]]
"""A statement of the rows of one file: all, or those up to a `seq`."""


@dataclass(slots=True)
class Everywhere:
    """A ledger, as of the snapshot of a connection, with its archives."""

    connection: Connection
    files: Files
    archives: list[Archive] = field(default_factory=list)
    """Those that can be read, oldest first."""
    unread: list[Archive] = field(default_factory=list)

    def differences(self) -> Iterator[Difference]:
        """Find what is wrong with the files of archives and what is known of them; and so which can be read."""
        counted = select(archived.c.month, func.count()).group_by(archived.c.month)
        known: dict[str, int] = {month: ids for month, ids in self.connection.execute(counted)}  # noqa: C416 - typed
        for archive in archives_of(self.connection.execute(ARCHIVES).mappings().all())[::-1]:
            if (ids := known.pop(archive.month, 0)) != archive.records:
                yield Difference("archive", f"{archive.month} ids", ids, archive.records)
            try:
                with self.files.reading(archive) as file:
                    _require_whole(file)
                    yield from _of_file(file, archive, self._path)
            except ArchiveUnavailable as error:
                self.unread.append(archive)
                yield Difference("archive", archive.month, str(error), "a file that can be read")
            else:
                self.archives.append(archive)
        for month, ids in known.items():
            yield Difference("archive", f"{month} ids", ids, 0)
        for record_id, corrects in self.connection.exec_driver_sql(LOST):
            yield Difference("reference", f"of record {record_id}", corrects, "a record that exists")

    @property
    def _path(self) -> str:
        return str(self.connection.exec_driver_sql("PRAGMA database_list").all()[0][2])

    @property
    def archived_records(self) -> int:
        """How many records are in archives, by the ledger's word."""
        return int(self.connection.scalar(select(func.coalesce(func.sum(archives.c.records), 0))) or 0)

    def rows(self, made: Made) -> Iterator[Row[Any]]:
        """Yield the rows of all files, file by file."""
        return chain(self._own(made), self._others(made))

    def in_order(self, made: Made, key: Key) -> Iterator[Row[Any]]:
        """Yield the rows of all files in the order of a key, in which each file has its own and months follow."""
        if not self.archives:
            return self._own(made)
        return heapq.merge(self._own(made), self._others(made), key=key)

    def any_of(self, made: Made, start: str, end: str | None) -> bool:
        """Whether there is any such row of a span of time."""
        if self.connection.execute(made(None).limit(1)).first() is not None:
            return True
        return any(
            bool(self.files.rows(archive, made(archive.until_seq).limit(1)))
            for archive in self.archives
            if overlaps(archive, start, end)
        )

    def is_unread(self, start: str, end: str | None) -> bool:
        """Whether some of a span of time is in an archive that cannot be read."""
        return any(overlaps(archive, start, end) for archive in self.unread)

    def _own(self, made: Made) -> Iterator[Row[Any]]:
        yield from self.connection.execute(made(None), execution_options={"yield_per": ROWS_AT_ONCE})

    def _others(self, made: Made) -> Iterator[Row[Any]]:
        for archive in self.archives:
            yield from self.files.streamed(archive, made(archive.until_seq), ROWS_AT_ONCE)


def overlaps(archive: Archive, start: str, end: str | None) -> bool:
    """Whether an archive's month and a span have an instant in common."""
    return archive.end > start and (end is None or archive.start < end)


def _require_whole(file: Connection) -> None:
    """Raise sqlite3.DatabaseError for a file that is damaged."""
    problem = file.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)


def _of_file(file: Connection, archive: Archive, ledger: str) -> Iterable[Difference]:
    sums = func.count(), func.coalesce(func.sum(usage_records.c.cost_nanos), 0)
    its = file.execute(select(*sums).where(usage_records.c.seq <= archive.until_seq)).one()
    for name, stored, found in zip(("records", "cost_nanos"), (archive.records, archive.cost_nanos), its, strict=True):
        if stored != found:
            yield Difference("archive", f"{archive.month} {name}", stored, found)
    elsewhen = (usage_records.c.timestamp < archive.start) | (usage_records.c.timestamp >= archive.end)
    outside = select(usage_records.c.record_id).where(elsewhen, usage_records.c.seq <= archive.until_seq)
    for record_id in file.scalars(outside):
        yield Difference("archive", f"{archive.month} record {record_id}", "of another month", "none such")
    file.exec_driver_sql("ATTACH ? AS ledger", (ledger,))
    try:
        asked = {"until": archive.until_seq, "month": archive.month}
        unknown = file.exec_driver_sql(UNKNOWN, asked).scalar_one()
        if unknown:
            yield Difference("archive", f"{archive.month} ids that differ", unknown, 0)
        for record_id, corrects in file.exec_driver_sql(ORPHANS, {"until": archive.until_seq}).all():
            yield Difference("reference", f"of record {record_id}", corrects, "a record that exists")
    finally:
        file.exec_driver_sql("DETACH ledger")
