"""
Keep the writer's statements.

Its one job: SQLAlchemy Core constructs, compiled once to SQL text, which stdlib sqlite3 executes for a whole batch at a
time (measured: five times the throughput of one awaited statement after another).
Rules: no SQL is put together from values. What a batch writes to a table is one step of SQLite where it can be: each
step gives Python's lock away, and on a busy machine waits to get it back.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    Table,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement, and_

from penia_proxy.ledger.archives import ARCHIVES, newest_record
from penia_proxy.ledger.days import LONG, UNITS, Unit
from penia_proxy.ledger.queries import GROUPINGS
from penia_proxy.ledger.rows import MEASURES, TALLIED
from penia_proxy.ledger.schema import (
    alerts,
    archived,
    audit_log,
    budget_sets,
    budgets,
    charges,
    folded_until,
    folds,
    folds_by_name,
    holds,
    notifications,
    other_names,
    reconciliations,
    rollups,
    secrets,
    settings,
    spend,
    usage_records,
)

_DIALECT = sqlite.dialect(paramstyle="named")
_BY_POSITION = sqlite.dialect(paramstyle="qmark")

ROWS_MAX = 32
"""Rows written in one step: of the widest table a thousand parameters, of the 32,766 that SQLite takes."""


def text_of(statement: ClauseElement) -> str:
    """Return the text of a statement whose parameters are named."""
    return str(statement.compile(dialect=_DIALECT))


def insert_into(table: Table, *without: str) -> Any:
    """Return the insertion of one row, a parameter per column."""
    names = [column.name for column in table.columns if column.name not in without]
    return sqlite.insert(table).values({name: bindparam(name) for name in names})


class Rows:
    """A statement that writes any number of rows: what stands for one, in ``VALUES (…)`` or ``IN (…)``, repeated."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_BY_POSITION)
        self._names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]  # of every SQL compiler
        marks = ", ".join("?" * len(self._names))
        self._row = f"({marks})" if f"VALUES ({marks})" in str(compiled) else marks
        self._before, _, self._after = str(compiled).partition(self._row)
        self._text = cache(self._of)

    def write(self, connection: sqlite3.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows in as few steps as there are bits in their number, so that few texts are ever prepared."""
        at = 0
        while at < len(rows):
            size = min(1 << ((len(rows) - at).bit_length() - 1), ROWS_MAX)
            taken = rows[at : at + size]
            connection.execute(self._text(size), [row[name] for row in taken for name in self._names])
            at += size

    def _of(self, size: int) -> str:
        return self._before + ", ".join([self._row] * size) + self._after


_RECORDED = (usage_records, archived)
"""Where it is known what has been booked."""


def _add(table: Table, sums: Sequence[str]) -> Rows:
    """Insert counters, or add to those that are there."""
    statement = insert_into(table)
    return Rows(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={name: table.c[name] + statement.excluded[name] for name in sums},
        )
    )


def _save_budget() -> str:
    statement = insert_into(budgets)
    kept = ("budget_id", "created_at")
    changed = {column.name: statement.excluded[column.name] for column in budgets.c if column.name not in kept}
    return text_of(statement.on_conflict_do_update(index_elements=["budget_id"], set_=changed))


INSERT_HOLDS = Rows(insert_into(holds))
DELETE_HOLDS = Rows(delete(holds).where(holds.c.hold_id.in_([bindparam("hold_id")])))
DEFER_HOLD = text_of(update(holds).where(holds.c.hold_id == bindparam("its_id")).values(once_key=bindparam("once_key")))
EXTEND_HOLD = text_of(
    update(holds).where(holds.c.hold_id == bindparam("its_id")).values(amount_nanos=bindparam("amount_nanos"))
)
OPEN_HOLDS = text_of(select(holds).order_by(holds.c.admitted_at, holds.c.hold_id))

INSERT_RECORDS = Rows(insert_into(usage_records, "cost"))
INSERT_CHARGES = Rows(insert_into(charges))
FIND_RECORD = text_of(
    union_all(*(select(one.c.fingerprint).where(one.c.record_id == bindparam("record_id")) for one in _RECORDED))
)
FIND_BILLED = text_of(
    union_all(*(select(one.c.record_id).where(one.c.once_key == bindparam("once_key")) for one in _RECORDED))
)

ADD_SPEND = _add(spend, TALLIED)
ADD_ROLLUP = _add(rollups, MEASURES)
INSERT_BUDGET_SETS = Rows(insert_into(budget_sets))
BUDGET_SETS = text_of(select(budget_sets).order_by(budget_sets.c.set_id, budget_sets.c.budget_id))
CLEAR_SPEND = text_of(delete(spend).where(spend.c.budget_id == bindparam("budget_id")))

NEWEST = text_of(newest_record())

_CHARGED = (
    select(
        charges.c.timestamp,
        usage_records.c.cost_nanos,
        usage_records.c.input_tokens,
        usage_records.c.output_tokens,
        usage_records.c.corrects,
        usage_records.c.cost_basis,
    )
    .select_from(charges)
    .join(usage_records, and_(usage_records.c.seq == charges.c.record_seq))
    .where(charges.c.budget_id == bindparam("budget_id"))
    .order_by(charges.c.timestamp)
)
CHARGED = text_of(_CHARGED)
"""What one budget was charged, oldest first: its counters are made of nothing else."""


def charged_of(budget_id: str, until_seq: int) -> Select[Any]:
    """Return the statement of the same in an archive."""
    return _CHARGED.where(charges.c.record_seq <= until_seq).params(budget_id=budget_id)


ALL_ARCHIVES = text_of(ARCHIVES)

FIND_SECRET = text_of(select(secrets.c.value).where(secrets.c.name == bindparam("name")))

INSERT_ALERT = text_of(insert_into(alerts, "seq").on_conflict_do_nothing())
RESOLVE_ALERT = text_of(
    update(alerts)
    .where(alerts.c.alert_id == bindparam("its_id"), alerts.c.resolved_at.is_(None))
    .values(resolved_at=bindparam("at"))
)
DISMISS_ALERT = text_of(update(alerts).where(alerts.c.alert_id == bindparam("its_id")).values(is_dismissed=true()))
ACKNOWLEDGE_ALERT = text_of(update(alerts).where(alerts.c.alert_id == bindparam("its_id")).values(acknowledged=true()))
INSERT_NOTIFICATION = text_of(insert_into(notifications).on_conflict_do_nothing())
UPDATE_NOTIFICATION = text_of(
    update(notifications)
    .where(notifications.c.notification_id == bindparam("its_id"))
    .values({name: bindparam(name) for name in ("state", "attempts", "due_at", "last_error", "sent_at")})
)
SAVE_SETTING = text_of(
    (_setting := insert_into(settings)).on_conflict_do_update(
        index_elements=["name"], set_={"value": _setting.excluded["value"]}
    )
)

SAVE_NAME = text_of(
    (_other_name := insert_into(other_names)).on_conflict_do_update(
        index_elements=["name"], set_={"once_key": _other_name.excluded["once_key"]}
    )
)

BUDGETS = text_of(select(budgets))
FIND_BUDGET = text_of(select(budgets.c.spec, budgets.c.is_active).where(budgets.c.budget_id == bindparam("budget_id")))
SAVE_BUDGET = _save_budget()
INSERT_AUDIT = text_of(insert_into(audit_log, "seq"))

INSERT_RECONCILIATION = text_of(insert_into(reconciliations))

_CELL = tuple(rollups.primary_key)


def _bound(before: str) -> Any:
    """Return a key of `rollups` as parameters."""
    return tuple_(*(bindparam(f"{before}_{column.name}", type_=column.type) for column in _CELL))


def _fold(cells: FromClause) -> tuple[str, str]:
    """Return what adds cells of `rollups` to `folds` and to `folds_by_name`, in every unit that these have."""
    told = told_of(cells)

    def added(to: Table, of: FromClause, units: Mapping[Unit, int], **key: ColumnElement[str]) -> Select[Any]:
        widths = union_all(*(select(literal_column(str(width)).label("width")) for width in units.values())).subquery()
        key["span"] = func.substr(of.c.hour, literal_column("1"), widths.c.width)
        columns = [key[column.name] if column.name in key else of.c[column.name] for column in to.columns]
        return select(*columns).select_from(of.join(widths, true()))

    by_name = []
    for name in GROUPINGS:
        told_apart = (told.c.budget_id, told.c.cost_basis, told.c.hour, told.c[name].label("name"))
        sums = (func.sum(told.c[measure]).label(measure) for measure in MEASURES)
        named = select(*told_apart, *sums).group_by(*told_apart).subquery()
        by_name.append(added(folds_by_name, named, UNITS, grouping=literal_column(f"'{name}'")))
    return _add_selected(folds, added(folds, told, LONG)), _add_selected(folds_by_name, union_all(*by_name))


def told_of(cells: FromClause) -> FromClause:
    """Return each cell as one of any budget and of each that was charged, and these of any basis and of its own."""
    said = [column for column in cells.c if column.name not in ("cost_basis", "set_id")]
    anybody: ColumnElement[str] = literal_column("''")
    found = [
        select(budget_id.label("budget_id"), basis.label("cost_basis"), *said).select_from(where)
        for budget_id, where in (
            (anybody, cells),
            (budget_sets.c.budget_id, cells.join(budget_sets, budget_sets.c.set_id == cells.c.set_id)),
        )
        for basis in (anybody, cells.c.cost_basis)
    ]
    return union_all(*found).subquery()


def _add_selected(table: Table, found: Select[Any] | CompoundSelect[Any]) -> str:
    """Insert counters that are selected in the order of the table's columns, or add to those that are there."""
    statement = sqlite.insert(table).from_select([column.name for column in table.columns], found)
    sums = {name: table.c[name] + statement.excluded[name] for name in MEASURES}
    return text_of(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums))


NEXT_CELLS = text_of(
    select(*_CELL).where(tuple_(*_CELL) > _bound("after"), rollups.c.hour < bindparam("closed")).order_by(*_CELL)
)
FOLD_CELLS = _fold(
    select(rollups).where(tuple_(*_CELL) > _bound("after"), tuple_(*_CELL) <= _bound("until")).subquery("cells")
)
FOLD_ONE = _fold(select(*(bindparam(one.name, type_=one.type).label(one.name) for one in rollups.c)).subquery("cells"))
FOLDED_UNTIL = text_of(select(folded_until))
FOLDED_TO = text_of(update(folded_until).values({one.name: bindparam(f"until_{one.name}") for one in _CELL}))
