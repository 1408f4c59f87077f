"""
Make one transaction out of many moves.

Its one job: decide each move in the order it was asked for, gather what it writes, and write the whole with one
statement per table: a hundred calls of a batch touch a budget's counter once.
Rules: a refused move raises before it has gathered anything, so the others of its batch are untouched. What the writer
knows of the file changes only when the file has (`commit`). All of it runs in the writer's thread.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import orjson

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.record import Hold, Tally, UsageRecord
from penia_proxy.budget.windows import Calendar, WindowKey
from penia_proxy.clock import from_iso, iso
from penia_proxy.errors import CallerError, Conflict, DuplicateRequest, InvariantError, NotFound
from penia_proxy.ledger import folding
from penia_proxy.ledger import statements as sql
from penia_proxy.ledger.archives import Files, archives_of
from penia_proxy.ledger.rows import (
    MEASURES,
    TALLIED,
    RollupKey,
    Row,
    budget_from,
    budget_row,
    count,
    expired,
    hold_row,
    json_text,
    measures_of,
    record_row,
    rollup_key,
)
from penia_proxy.ledger.schema import rollups

BudgetSet = tuple[str, ...]
"""In the order of their ids, whichever was the most specific."""

CHARGES_AT_ONCE = 1000
"""Of an archive, in memory."""


@dataclass(slots=True)
class Known:
    """What the writer knows of the file without asking; no second process may write."""

    holds: dict[str, str | None]
    """The fingerprints of the open holds, by their ids."""
    calendars: dict[str, Calendar]
    """By budget id."""
    newest: int
    """The ``seq`` of the newest record, 0 where there is none."""
    key: bytes
    """What fingerprints are made with."""
    folded_until: RollupKey
    """The last of the rollups that are folded."""
    sets: dict[BudgetSet, int]
    """The numbers of the sets of budgets that were charged together."""
    files: Files
    """Where else records are."""

    @classmethod
    def read(cls, connection: sqlite3.Connection, files: Files) -> "Known":
        """Ask the file. Raises ValueError or InvalidRequest for a budget that this version cannot read."""
        saved = [budget_from({**row, "spec": orjson.loads(row["spec"])}) for row in _rows(connection, sql.BUDGETS)]
        return cls(
            {row["hold_id"]: row["fingerprint"] for row in _rows(connection, sql.OPEN_HOLDS)},
            {budget.budget_id: budget.calendar for budget in saved},
            next(_rows(connection, sql.NEWEST))["seq"],
            bytes.fromhex(next(_rows(connection, sql.FIND_SECRET, name="fingerprints"))["value"]),
            folding.folded_until(connection),
            _sets(connection),
            files,
        )


class Transaction:
    """Gathers moves; `commit` writes them, all or none. Begun by whoever made it, and rolled back by the same."""

    def __init__(self, connection: sqlite3.Connection, known: Known) -> None:
        self._connection = connection
        self._known = known
        self._seq = known.newest
        self._folded_until = known.folded_until
        self._opened: dict[str, str | None] = {}
        self._closed: set[str] = set()
        self._calendars: dict[str, Calendar] = {}
        self._fingerprints: dict[str, str | None] = {}
        """Of the records of this transaction."""
        self._once_keys: set[str] = set()
        """Likewise."""
        self._sets: dict[BudgetSet, int] = {}
        self._fresh()

    def _fresh(self) -> None:
        self._hold_inserts: dict[str, dict[str, Any]] = {}
        self._hold_deletes: set[str] = set()
        self._deferred: dict[str, str] = {}
        self._extended: dict[str, int] = {}
        self._records: list[dict[str, Any]] = []
        self._charges: list[dict[str, Any]] = []
        self._spend: dict[WindowKey, Tally] = {}
        self._new_sets: list[dict[str, Any]] = []
        self._rollups: dict[RollupKey, list[int]] = {}

    def reserve(self, hold: Hold, *, unique: bool) -> None:
        """
        Open a hold.

        Raises DuplicateRequest for an id that is open, or, if it must be unique, was ever settled; Conflict if what was
        asked under it was something else.
        """
        self._require(hold.budget_ids)
        if self._is_open(hold.hold_id):
            raise _used_before(hold, self._fingerprint_of(hold.hold_id))
        if unique and self._is_recorded(hold.hold_id):
            raise _used_before(hold, self._fingerprints[hold.hold_id])
        self._hold_inserts[hold.hold_id] = hold_row(hold)
        self._opened[hold.hold_id] = hold.fingerprint
        self._closed.discard(hold.hold_id)

    def defer(self, hold_id: str, once_key: str) -> None:
        """Keep the key of an open hold; one that is not open has ended."""
        row = self._hold_inserts.get(hold_id)
        if row is not None:
            row["once_key"] = once_key
        elif self._is_open(hold_id):
            self._deferred[hold_id] = once_key

    def extend(self, hold_id: str, amount_nanos: int) -> None:
        """Keep the amount of an open hold; one that is not open has ended."""
        row = self._hold_inserts.get(hold_id)
        if row is not None:
            row["amount_nanos"] = amount_nanos
        elif self._is_open(hold_id):
            self._extended[hold_id] = amount_nanos

    def release(self, hold_id: str) -> None:
        """Close a hold; one that is not open is closed already."""
        if self._hold_inserts.pop(hold_id, None) is None:
            self._hold_deletes.add(hold_id)
        self._opened.pop(hold_id, None)
        self._closed.add(hold_id)

    def settle(self, record: UsageRecord) -> None:
        """Close the record's hold and count the record, unless its id is recorded already."""
        # An id whose hold is open has no record: looking for one would be a step of SQLite for each call.
        if self._is_open(record.record_id) or not self._is_recorded(record.record_id):
            if record.once_key is not None and self._is_billed(record.once_key):
                record = replace(record, once_key=None)  # never refused: what is settled is counted
            self._insert(record, self._fingerprint_of(record.record_id))
        self.release(record.record_id)

    def append(self, record: UsageRecord, fingerprint: str) -> bool:
        """Count a posted record; return False if the same one is there. Raises Conflict or NotFound (`corrects`)."""
        if self._is_open(record.record_id):
            raise Conflict(f"the record id {record.record_id!r} belongs to a call in flight")
        if self._is_recorded(record.record_id):
            if self._fingerprints[record.record_id] != fingerprint:
                raise Conflict(f"the record id {record.record_id!r} was used before, with another content")
            return False
        if record.once_key is not None and self._is_billed(record.once_key):
            return False
        if record.corrects is not None and not self._is_recorded(record.corrects):
            raise NotFound(f"no usage record {record.corrects!r} to correct")
        self._insert(record, fingerprint)
        return True

    def expire(self) -> list[UsageRecord]:
        """Turn every open hold into the record of a crashed call."""
        self._flush()
        records = [expired(row) for row in self._rows(sql.OPEN_HOLDS)]
        for record in records:
            self.settle(record)
        return records

    def save_budget(self, budget: Budget, audit: Mapping[str, Any] | None, at: datetime) -> None:
        """Insert or update a budget; recount its windows if its calendar moved them. Raises ArchiveUnavailable."""
        self._flush()
        before = next(self._rows(sql.FIND_BUDGET, budget_id=budget.budget_id), None)
        previous = self._calendar(budget.budget_id)
        # Before anything is written: an archive that cannot be read refuses it.
        anew = None if previous in (None, budget.calendar) else self._counted_anew(budget)
        self._connection.execute(sql.SAVE_BUDGET, budget_row(budget))
        self._calendars[budget.budget_id] = budget.calendar
        if anew is not None:
            self._connection.execute(sql.CLEAR_SPEND, {"budget_id": budget.budget_id})
            sql.ADD_SPEND.write(self._connection, _spend_rows(anew))
        if audit is not None:
            self._connection.execute(sql.INSERT_AUDIT, _audit_row(budget, before, audit, at))

    def fold(self, closed: str) -> bool:
        """Fold the next rollups of hours before ``closed``; return whether there were any."""
        self._flush()
        until = folding.fold(self._connection, self._folded_until, closed)
        self._folded_until = until or self._folded_until
        return until is not None

    def execute(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run a statement that is seldom needed, after what was gathered; return how many rows it changed."""
        self._flush()
        return self._connection.execute(statement, parameters).rowcount

    def commit(self) -> None:
        """Make it durable, then known."""
        self._flush()
        self._connection.execute("COMMIT")
        for hold_id in self._closed:
            self._known.holds.pop(hold_id, None)
        self._known.holds.update(self._opened)
        self._known.calendars.update(self._calendars)
        self._known.newest = self._seq
        self._known.folded_until = self._folded_until
        self._known.sets.update(self._sets)

    def _is_open(self, hold_id: str) -> bool:
        return hold_id in self._opened or (hold_id in self._known.holds and hold_id not in self._closed)

    def _fingerprint_of(self, hold_id: str) -> str | None:
        """Return that of an open hold."""
        return self._opened.get(hold_id, self._known.holds.get(hold_id))

    def _is_recorded(self, record_id: str) -> bool:
        if record_id not in self._fingerprints:
            row = next(self._rows(sql.FIND_RECORD, record_id=record_id), None)
            if row is None:
                return False
            self._fingerprints[record_id] = row["fingerprint"]
        return True

    def _is_billed(self, once_key: str) -> bool:
        return once_key in self._once_keys or any(True for _ in self._rows(sql.FIND_BILLED, once_key=once_key))

    def _calendar(self, budget_id: str) -> Calendar | None:
        return self._calendars.get(budget_id) or self._known.calendars.get(budget_id)

    def _require(self, budget_ids: Iterable[str]) -> dict[str, Calendar]:
        """Return the calendars of budgets, each once, in order."""
        calendars = {}
        for budget_id in budget_ids:
            calendar = self._calendar(budget_id)
            if calendar is None:
                raise InvariantError(f"the ledger has no budget {budget_id!r}")
            calendars[budget_id] = calendar
        return calendars

    def _insert(self, record: UsageRecord, fingerprint: str | None) -> None:
        calendars = self._require(record.budget_ids)
        windows = {budget_id: calendar.windows(record.timestamp) for budget_id, calendar in calendars.items()}
        row = record_row(record, self._seq + 1, fingerprint)
        self._seq += 1
        self._records.append(row)
        self._fingerprints[record.record_id] = fingerprint
        if record.once_key is not None:
            self._once_keys.add(record.once_key)
        amounts = record.amounts()
        for position, (budget_id, its_windows) in enumerate(windows.items()):
            self._charges.append(
                {
                    "record_seq": self._seq,
                    "budget_id": budget_id,
                    "timestamp": row["timestamp"],
                    "position": position,
                }
            )
            for window in its_windows:
                key = WindowKey(budget_id, window.period, window.start)
                self._spend.setdefault(key, Tally()).add(amounts)
        cell = rollup_key(row, self._set_id(tuple(sorted(windows))))
        sums = self._rollups.setdefault(cell, [0] * len(MEASURES))
        for index, amount in enumerate(measures_of(row)):
            sums[index] += amount

    def _set_id(self, budget_ids: BudgetSet) -> int:
        """Return the number of a set of budgets, which is given to it when it is charged for the first time."""
        number = self._known.sets.get(budget_ids, self._sets.get(budget_ids))
        if number is None:
            number = len(self._known.sets) + len(self._sets)
            self._sets[budget_ids] = number
            self._new_sets += [{"set_id": number, "budget_id": budget_id} for budget_id in budget_ids]
        return number

    def _counted_anew(self, budget: Budget) -> dict[WindowKey, Tally]:
        """Return a budget's counters from its charges: the windows of its new calendar begin and end elsewhere."""
        tallies: dict[WindowKey, Tally] = {}
        for row in chain(self._rows(sql.CHARGED, budget_id=budget.budget_id), self._archived(budget)):
            for window in budget.calendar.windows(from_iso(row["timestamp"])):
                key = WindowKey(budget.budget_id, window.period, window.start)
                count(tallies.setdefault(key, Tally()), row)
        return tallies

    def _archived(self, budget: Budget) -> Iterator[Row]:
        """Yield what else a budget was charged. Raises ArchiveUnavailable."""
        for archive in archives_of(list(self._rows(sql.ALL_ARCHIVES))):
            charged = sql.charged_of(budget.budget_id, archive.until_seq)
            for row in self._known.files.streamed(archive, charged, CHARGES_AT_ONCE):
                yield row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it

    def _flush(self) -> None:
        """Write what was gathered. Deletes come first: an id may be released and reserved again in one batch."""
        to = self._connection
        sql.DELETE_HOLDS.write(to, [{"hold_id": hold_id} for hold_id in self._hold_deletes])
        for hold_id, amount_nanos in self._extended.items():
            to.execute(sql.EXTEND_HOLD, {"its_id": hold_id, "amount_nanos": amount_nanos})
        for hold_id, key in self._deferred.items():
            to.execute(sql.DEFER_HOLD, {"its_id": hold_id, "once_key": key})
        sql.INSERT_HOLDS.write(to, list(self._hold_inserts.values()))
        sql.INSERT_RECORDS.write(to, self._records)
        sql.INSERT_CHARGES.write(to, self._charges)
        sql.ADD_SPEND.write(to, _spend_rows(self._spend))
        sql.INSERT_BUDGET_SETS.write(to, self._new_sets)
        sql.ADD_ROLLUP.write(to, _rollup_rows(self._rollups))
        late = {key: sums for key, sums in self._rollups.items() if key <= self._folded_until}
        folding.fold_again(to, _rollup_rows(late))
        self._fresh()

    def _rows(self, statement: str, **parameters: object) -> Iterator[Row]:
        return _rows(self._connection, statement, **parameters)


_ROLLUP = tuple(column.name for column in rollups.columns)


def _used_before(hold: Hold, fingerprint: str | None) -> CallerError:
    """Return the refusal of a hold whose id an earlier call has, which asked for what the fingerprint says."""
    if fingerprint is not None and hold.fingerprint not in (None, fingerprint):
        return Conflict(f"The request id {hold.hold_id!r} was used before, for another request; nothing was forwarded.")
    return DuplicateRequest(
        f"The request id {hold.hold_id!r} belongs to an earlier call, whose usage record has it; nothing was forwarded."
    )


def _rows(connection: sqlite3.Connection, statement: str, **parameters: object) -> Iterator[dict[str, Any]]:
    cursor = connection.execute(statement, parameters)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, values, strict=True)) for values in cursor)


def _spend_rows(tallies: Mapping[WindowKey, Tally]) -> list[dict[str, Any]]:
    return [
        {
            "budget_id": key.budget_id,
            "period": key.period,
            "window_start": iso(key.start),
            **{name: getattr(tally, name) for name in TALLIED},
        }
        for key, tally in tallies.items()
    ]


def _rollup_rows(sums_of: Mapping[RollupKey, list[int]]) -> list[dict[str, Any]]:
    return [dict(zip(_ROLLUP, (*key, *sums), strict=True)) for key, sums in sums_of.items()]


def _sets(connection: sqlite3.Connection) -> dict[BudgetSet, int]:
    """Return the numbers of the sets there are, from 0, which is no budget's."""
    rows = _rows(connection, sql.BUDGET_SETS)
    return {(): 0} | {
        tuple(row["budget_id"] for row in its): number for number, its in groupby(rows, itemgetter("set_id"))
    }


def _audit_row(budget: Budget, before: Row | None, audit: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Return who did what to which budget, with what it was and what it is; other members of ``audit`` are kept."""
    details = {name: value for name, value in audit.items() if name not in ("actor", "action")}
    details["old"] = before and {"is_active": bool(before["is_active"]), "spec": orjson.loads(before["spec"])}
    details["new"] = {"is_active": budget.is_active, "spec": budget.spec.model_dump(mode="json")}
    return {
        "at": iso(at),
        "actor": str(audit.get("actor", "unknown")),
        "action": str(audit.get("action", "update" if before else "create")),
        "subject": budget.budget_id,
        "details": json_text(details),
    }
