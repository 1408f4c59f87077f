"""
Prove the counters.

Its one job: recompute every `spend` and `rollups` row from the records and their charges, wherever these are, and every
fold from what was folded into it; list what differs.
Rules: reads one snapshot, takes no lock and changes nothing, so it works beside a running gateway. Memory does not grow
with the ledger: records are streamed in the order of the windows they fall in.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, literal, not_, select, tuple_

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.record import Tally
from penia_proxy.budget.windows import Window
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.archives import Files, newest_record
from penia_proxy.ledger.cells import KEY, measures_of_records
from penia_proxy.ledger.days import LONG, UNITS
from penia_proxy.ledger.differences import Difference, What
from penia_proxy.ledger.everywhere import ROWS_AT_ONCE, Everywhere, Made
from penia_proxy.ledger.file import open_for_reading, path_of
from penia_proxy.ledger.queries import GROUPINGS
from penia_proxy.ledger.rows import HOUR_REST, HOUR_WIDTH, MEASURES, TALLIED, budget_from, count
from penia_proxy.ledger.schema import (
    APPEND_ONLY,
    budget_sets,
    budgets,
    charges,
    folded_until,
    folds,
    folds_by_name,
    holds,
    rollups,
    spend,
    usage_records,
)
from penia_proxy.ledger.statements import told_of


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verification saw."""

    differences: list[Difference]
    records: int
    """Those in archives included."""
    archives: int
    unread: tuple[str, ...]
    """Of the archives, the months of those that are missing or damaged."""
    holds_open: int
    """For information: calls in flight, or what a crash left and the next start will charge."""


async def verify(url: str) -> list[Difference]:
    """Return every difference of the ledger a ``sqlite:///`` URL names. Raises ConfigError if it cannot be read."""
    return (await asyncio.to_thread(examine, url)).differences


def examine(url: str, files: Files | None = None) -> Findings:
    """
    Verify in this thread; ``files``: the archives', where they do not lie beside the file.

    Raises ConfigError for a file that is missing, no ledger, or of another version.
    """
    with closing(files or Files(path_of(url))) as its, open_for_reading(url) as connection:
        connection.exec_driver_sql("BEGIN")
        everywhere = Everywhere(connection, its)
        differences = list(_differences(everywhere))
        own = connection.scalar(select(func.count()).select_from(usage_records)) or 0
        return Findings(
            differences,
            records=own + everywhere.archived_records,
            archives=len(everywhere.archives) + len(everywhere.unread),
            unread=tuple(archive.month for archive in everywhere.unread),
            holds_open=connection.scalar(select(func.count()).select_from(holds)) or 0,
        )


def _differences(everywhere: Everywhere) -> Iterator[Difference]:
    connection = everywhere.connection
    yield from _of_the_file(connection)
    yield from everywhere.differences()
    yield from _of_the_sequence(everywhere)
    yield from _of_charges(everywhere)
    for row in connection.execute(select(budgets).order_by(budgets.c.budget_id)).mappings().all():
        budget = budget_from(row)
        yield from _of_spend(everywhere, budget)
        yield from _of_needless_spend(everywhere, budget)
    yield from _of_rollups(everywhere)
    yield from _of_folds(connection)


def _of_the_file(connection: Connection) -> Iterator[Difference]:
    for (problem,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if problem != "ok":
            yield Difference("file", "integrity_check", problem, "ok")
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield Difference("reference", f"{table} row {row}", f"names a row of {parent} that does not exist", "none such")
    found = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars())
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            if f"{table}_no_{verb}" not in found:
                yield Difference("guard", f"{table}_no_{verb}", "missing", "a trigger that keeps the table append-only")


def _of_the_sequence(everywhere: Everywhere) -> Iterator[Difference]:
    """Find whether a record was taken out: they are numbered from 1 without gaps."""
    newest = everywhere.connection.scalar(newest_record())
    own = everywhere.connection.scalar(select(func.count()).select_from(usage_records)) or 0
    number = own + everywhere.archived_records
    if newest != number:
        yield Difference("sequence", f"usage_records 1 to {newest}", f"{number} records", newest)


def _of_charges(everywhere: Everywhere) -> Iterator[Difference]:
    """Find records whose first charge is not to their documented budget, and charges of another instant."""
    first = (charges.c.record_seq == usage_records.c.seq) & (charges.c.position == 0)
    statement = (
        select(usage_records.c.record_id, usage_records.c.budget_id, charges.c.budget_id)
        .join_from(usage_records, charges, first, isouter=True)
        .where(usage_records.c.budget_id.is_distinct_from(charges.c.budget_id))
    )
    for record_id, documented, charged in map(tuple, everywhere.rows(_up_to(statement))):
        yield Difference("charge", f"of record {record_id}", charged, documented)
    moved = (
        select(usage_records.c.record_id, charges.c.timestamp, usage_records.c.timestamp)
        .join_from(charges, usage_records, charges.c.record_seq == usage_records.c.seq)
        .where(charges.c.timestamp != usage_records.c.timestamp)
    )
    for record_id, stored, meant in map(tuple, everywhere.rows(_up_to(moved))):
        yield Difference("charge", f"of record {record_id}", stored, meant)


def _up_to(statement: Select[Any]) -> Made:
    """Return a statement of records as it is asked of any file."""
    return lambda seq: statement if seq is None else statement.where(usage_records.c.seq <= seq)


def _of_spend(everywhere: Everywhere, budget: Budget) -> Iterator[Difference]:
    """Compare what the charges of each window add up to with the stored counter."""
    statement = (
        select(charges.c.timestamp, *(usage_records.c[name] for name in _COUNTED))
        .join_from(charges, usage_records, charges.c.record_seq == usage_records.c.seq)
        .where(charges.c.budget_id == budget.budget_id)
        .order_by(charges.c.timestamp)
    )
    current: dict[str, tuple[Window, Tally]] = {}
    for row in everywhere.in_order(_up_to(statement), lambda row: row.timestamp):
        for window in budget.calendar.windows(from_iso(row.timestamp)):
            done = current.get(window.period)
            if done is None or done[0] != window:
                if done is not None:
                    yield from _of_window(everywhere, budget, *done)
                current[window.period] = (window, Tally())
            count(current[window.period][1], row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    for window, tally in current.values():
        yield from _of_window(everywhere, budget, window, tally)


_COUNTED = ("cost_nanos", "input_tokens", "output_tokens", "corrects", "cost_basis")


def _of_window(everywhere: Everywhere, budget: Budget, window: Window, tally: Tally) -> Iterator[Difference]:
    if everywhere.is_unread(*_span(window)):
        return
    statement = select(*(spend.c[name] for name in TALLIED)).where(
        spend.c.budget_id == budget.budget_id,
        spend.c.period == window.period,
        spend.c.window_start == iso(window.start),
    )
    row = everywhere.connection.execute(statement).one_or_none()
    stored = None if row is None else tuple(row)
    recomputed = tuple(getattr(tally, name) for name in TALLIED)
    if stored != recomputed:
        yield _difference("spend", _window_key(budget, window.period, iso(window.start)), TALLIED, stored, recomputed)


def _span(window: Window) -> tuple[str, str | None]:
    return iso(window.start), None if window.end is None else iso(window.end)


def _of_needless_spend(everywhere: Everywhere, budget: Budget) -> Iterator[Difference]:
    """Find counters of windows in which nothing was charged, or that the budget's calendar does not have."""
    statement = select(spend).where(spend.c.budget_id == budget.budget_id)
    for row in _streamed(everywhere.connection, statement):
        window = budget.calendar.window(row.period, from_iso(row.window_start))
        span = _span(window)
        charged = (
            select(charges.c.record_seq)
            .join_from(charges, usage_records, charges.c.record_seq == usage_records.c.seq)
            .where(charges.c.budget_id == budget.budget_id, charges.c.timestamp >= span[0])
        )
        if span[1] is not None:
            charged = charged.where(charges.c.timestamp < span[1])
        if everywhere.is_unread(*span):
            continue
        if span[0] != row.window_start or not everywhere.any_of(_up_to(charged), *span):
            stored = tuple(getattr(row, name) for name in TALLIED)
            yield _difference("spend", _window_key(budget, row.period, row.window_start), TALLIED, stored, None)


def _of_rollups(everywhere: Everywhere) -> Iterator[Difference]:
    """Compare the rollups with the records of their hours, and the budgets of their sets with the charges."""
    charged = select(charges.c.budget_id).where(charges.c.record_seq == usage_records.c.seq)
    charged = charged.order_by(charges.c.budget_id).correlate(usage_records)
    hour = func.substr(usage_records.c.timestamp, 1, HOUR_WIDTH) + HOUR_REST
    names = (func.coalesce(usage_records.c[name], "") for name in GROUPINGS)
    of = [hour, *names, usage_records.c.cost_basis, _listed(charged)]
    recomputed = _up_to(_summed(of, measures_of_records()))
    its = select(budget_sets.c.budget_id).where(budget_sets.c.set_id == rollups.c.set_id)
    its = its.order_by(budget_sets.c.budget_id).correlate(rollups)
    width = len(of)
    left = _keyed(_streamed(everywhere.connection, _stored(rollups, [*KEY[:-1], _listed(its)])), width)
    right = _added(_keyed(everywhere.in_order(recomputed, lambda row: tuple(row[:width])), width))
    for key, ours, meant in _joined(left, right):
        if ours != meant and not any(key[0].startswith(archive.month) for archive in everywhere.unread):
            yield _difference("rollup", _shown(key), MEASURES, ours, meant)


def _listed(budget_ids: Select[Any]) -> ColumnElement[str]:
    """Return them as one text; '' where there are none."""
    each = budget_ids.subquery()
    listed = select(func.group_concat(each.c.budget_id, " ")).select_from(each).scalar_subquery()
    return func.coalesce(listed, "")


def _added(rows: "Keyed") -> "Keyed":
    """Add up neighbours of one key: of one hour there may be records in two files."""
    for key, alike in groupby(rows, key=itemgetter(0)):
        yield key, tuple(map(sum, zip(*(sums for _, sums in alike), strict=True)))


def _of_folds(connection: Connection) -> Iterator[Difference]:
    """Compare the shortest with the rollups that are folded, the others with the next shorter, names with cells."""
    until = connection.execute(select(folded_until)).all()
    if len(until) != 1:
        yield Difference("fold", "folded_until", f"{len(until)} rows", "1 row")
        return
    of = [folds.c.budget_id, folds.c.cost_basis]
    cells = [folds.c[name] for name in GROUPINGS]
    width = func.length(folds.c.span)
    sums = [folds.c[name] for name in MEASURES]
    *_, shortest = LONG.values()
    told = told_of(select(rollups).where(tuple_(*KEY) <= tuple_(*until[0])).subquery()).c
    key = [told.budget_id, told.cost_basis, func.substr(told.hour, 1, shortest), *(told[name] for name in GROUPINGS)]
    made = {shortest: _summed(key, (told[name] for name in MEASURES))}
    for longer, shorter in pairwise(LONG.values()):
        made[longer] = _summed([*of, func.substr(folds.c.span, 1, longer), *cells], sums).where(width == shorter)
    for its_width, recomputed in made.items():
        stored = _stored(folds, [*of, folds.c.span, *cells]).where(width == its_width)
        yield from _side_by_side(connection, "fold", stored, recomputed, len(key))
    key = [folds_by_name.c[name] for name in ("budget_id", "cost_basis", "span", "grouping", "name")]
    is_hour = func.length(folds_by_name.c.span) == UNITS["hour"]
    hour = func.substr(told.hour, 1, UNITS["hour"])
    for grouping in GROUPINGS:
        stored = _stored(folds_by_name, key).where(folds_by_name.c.grouping == grouping)
        recomputed = _summed([*of, folds.c.span, literal(grouping), folds.c[grouping]], sums)
        yield from _side_by_side(connection, "fold", stored.where(not_(is_hour)), recomputed, len(key))
        of_hours = [told.budget_id, told.cost_basis, hour, literal(grouping), told[grouping]]
        recomputed = _summed(of_hours, (told[name] for name in MEASURES))
        yield from _side_by_side(connection, "fold", stored.where(is_hour), recomputed, len(key))
    for row in _streamed(connection, _stored(folds_by_name, key).where(folds_by_name.c.grouping.not_in(GROUPINGS))):
        stored_sums = tuple(row[len(key) :])
        yield _difference("fold", _shown(row[: len(key)]), MEASURES, stored_sums, None)


def _stored(table: Table, key: Sequence[ColumnElement[str]]) -> Select[Any]:
    columns = [*key, *(table.c[name] for name in MEASURES)]
    return select(*columns).order_by(*key)


def _summed(key: Sequence[ColumnElement[Any]], measures: Iterable[ColumnElement[Any]]) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [*key, *(func.sum(measure) for measure in measures)]
    return select(*columns).group_by(*key).order_by(*key)


def _side_by_side(
    connection: Connection, what: What, stored: Select[Any], recomputed: Select[Any], width: int
) -> Iterator[Difference]:
    """Compare sums of MEASURES, both in the order of their keys, which are the first columns."""
    left, right = (_keyed(_streamed(connection, statement), width) for statement in (stored, recomputed))
    for key, ours, meant in _joined(left, right):
        if ours != meant:
            yield _difference(what, _shown(key), MEASURES, ours, meant)


def _shown(key: Sequence[str]) -> str:
    """Return a key for people; - is none, or any."""
    return " ".join(part or "-" for part in key)


def _keyed(rows: Iterable[Row[Any]], width: int) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    return ((tuple(row[:width]), tuple(row[width:])) for row in rows)


Keyed = Iterator[tuple[tuple[str, ...], tuple[int, ...]]]


def _joined(
    left: Keyed, right: Keyed
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...] | None, tuple[int, ...] | None]]:
    """Join two streams of rows that are sorted by key; what one side lacks is None."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if a is not None and b is not None and a[0] == b[0]:
            yield a[0], a[1], b[1]
            a, b = next(left, None), next(right, None)
        elif a is not None and (b is None or a[0] < b[0]):
            yield a[0], a[1], None
            a = next(left, None)
        elif b is not None:
            yield b[0], None, b[1]
            b = next(right, None)


def _difference(
    what: What,
    key: str,
    names: tuple[str, ...],
    stored: tuple[int, ...] | None,
    recomputed: tuple[int, ...] | None,
) -> Difference:
    """Name only the figures that differ; a row that one side lacks is `nothing`."""
    differing = [
        index
        for index in range(len(names))
        if stored is None or recomputed is None or stored[index] != recomputed[index]
    ]

    def said(row: tuple[int, ...] | None) -> str:
        return "nothing" if row is None else ", ".join(f"{names[index]} {row[index]}" for index in differing)

    return Difference(what, key, said(stored), said(recomputed))


def _window_key(budget: Budget, period: str, start: str) -> str:
    return f"{budget.budget_id} ({budget.name}) {period} {start}"


def _streamed(connection: Connection, statement: Select[Any]) -> Iterable[Row[Any]]:
    return connection.execute(statement, execution_options={"yield_per": ROWS_AT_ONCE})
