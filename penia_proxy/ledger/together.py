"""
Find where names go together.

Its one job: in which hours the newest records lie that have several names at once (a component's of a model, a budget's
of a basis): two names may be common and hardly ever together, and no index has both.
Rules: it is read from folds, from years down to hours and only within those in which there are some, so that it costs
names and not records. What is not folded yet is read from `rollups`. All files are in both, archives too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_, union, union_all

from penia_proxy.budget.usage import CostBasis
from penia_proxy.clock import iso
from penia_proxy.ledger.cells import KEY, Extent, in_folds, in_rollups
from penia_proxy.ledger.days import UNITS
from penia_proxy.ledger.merging import Ask, Questions
from penia_proxy.ledger.queries import GROUPINGS, RecordFilter
from penia_proxy.ledger.rows import HOUR_REST, HOUR_WIDTH
from penia_proxy.ledger.schema import folds, folds_by_name, rollups

_WITHIN: Sequence[Sequence[str]] = (
    [f"-{month:02}" for month in range(1, 13)],
    [f"-{tens}" for tens in range(4)],
    [str(day) for day in range(10)],
    [f"T{tens}" for tens in range(3)],
    [f"{hour}:" for hour in range(10)],
)
"""What is in a year, a month, ten days, a day and ten hours; what of it there is not has no records."""
EVER = "~"
"""Sorts behind every instant."""
_COMPONENTS_MAX = 50
"""Components that hours are looked through for by name, which is more than looking at all of them."""
_AT_ONCE = 5_000
"""Names in one statement; SQLite takes 32,766 parameters."""


class Bounds(NamedTuple):
    """Instants as text, and so comparable with the names of units; ``start`` lies within, ``end`` does not."""

    start: str
    end: str

    @classmethod
    def of(cls, asked: RecordFilter, newest: str | None) -> "Bounds":
        """Return a filter's; nothing after ``newest`` is asked for."""
        ends = [EVER if asked.end is None else iso(asked.end), EVER if newest is None else newest + EVER]
        return cls("" if asked.start is None else iso(asked.start), min(ends))

    def touch(self, unit: str) -> bool:
        """Return whether something in a unit may lie within."""
        return self.start[: len(unit)] <= unit <= self.end[: len(unit)]

    def contain(self, unit: str) -> bool:
        """Return whether all of a unit does; of one that begins or ends with them it is not known."""
        return self.start[: len(unit)] < unit < self.end[: len(unit)]


def newest(asked: RecordFilter, extent: Extent, bounds: Bounds, number: int) -> Questions[dict[str, int]]:
    """
    Return hours that have so many records of a filter, or all there are, and the number in each; the newest first.

    What lies out of bounds in the first and the last hour is counted, too.
    """
    late = Counter((yield from _found(behind(asked, extent))))
    known = sum(count for hour, count in late.items() if bounds.contain(hour))
    units = [str(year) for year in range(extent.start.year, extent.end.year + 1)]
    for parts in _WITHIN:
        found = yield from _counted(asked, units, bounds)
        kept = list(_newest(found, bounds, number - known))
        if kept and len(kept[0]) == UNITS["day"] and not asked.components:
            asked = yield from _narrowed(asked, kept)
        units = [unit + part for unit in kept for part in parts]
    folded = yield from _counted(asked, units, bounds, extent)
    every = Counter({hour: count for hour, count in (late + folded).items() if bounds.touch(hour)})
    return {hour: every[hour] for hour in _newest(every, bounds, number)}


def _counted(
    asked: RecordFilter, units: Sequence[str], bounds: Bounds, extent: Extent | None = None
) -> Questions[Counter[str]]:
    """Return the number of records in units; ``extent``: these are hours, of which the rollups tell."""
    touched = [unit for unit in units if bounds.touch(unit)]
    found: Counter[str] = Counter()
    for at in range(0, len(touched), _AT_ONCE):
        names = touched[at : at + _AT_ONCE]
        found += yield from _found(in_units(asked, names) if extent is None else in_hours(asked, names, extent))
    return found


def _narrowed(asked: RecordFilter, units: Sequence[str]) -> Questions[RecordFilter]:
    """Return a filter of the components that it is met in, where they are few: keys begin with them."""
    found = [row["component"] for row in (yield Ask(components_in(asked, units)))]
    return asked if len(found) > _COMPONENTS_MAX else replace(asked, components=tuple(found))


def _newest(counts: Mapping[str, int], bounds: Bounds, number: int) -> Iterator[str]:
    """Yield the newest units that have so many records for certain, or all, the newest first."""
    for unit in sorted(counts, reverse=True):
        if number <= 0:
            return
        yield unit
        number -= counts[unit] if bounds.contain(unit) else 0


def _found(statement: Select[Any]) -> Questions[Counter[str]]:
    return Counter({row["unit"]: row["number"] for row in (yield Ask(statement))})


def in_units(asked: RecordFilter, names: Sequence[str]) -> Select[Any]:
    """Return the statement of the number of records in units, of those that have any."""
    where = (*in_folds(asked, folds.c), folds.c.span.in_(names))
    said = (folds.c.span.label("unit"), func.sum(folds.c.record_count).label("number"))
    return select(*said).where(*where).group_by(folds.c.span)


def components_in(asked: RecordFilter, names: Sequence[str]) -> Select[Any]:
    """Return the statement of the components that have any in units; of many, some."""
    where = (*in_folds(asked, folds.c), folds.c.span.in_(names))
    return select(folds.c.component).where(*where).distinct().limit(_COMPONENTS_MAX + 1)


def in_hours(asked: RecordFilter, names: Sequence[str], extent: Extent) -> Select[Any]:
    """Return the same of hours, as far as they are folded."""
    hours = [name + HOUR_REST for name in names]
    return _of_rollups(asked, rollups.c.hour.in_(hours), tuple_(*KEY) <= tuple_(*extent.folded))


def behind(asked: RecordFilter, extent: Extent) -> Select[Any]:
    """Return the same of what is not folded yet."""
    return _of_rollups(asked, tuple_(*KEY) > tuple_(*extent.folded))


def _of_rollups(asked: RecordFilter, *which: ColumnElement[bool]) -> Select[Any]:
    hour = rollups.c.hour
    said = (func.substr(hour, 1, HOUR_WIDTH).label("unit"), func.sum(rollups.c.record_count).label("number"))
    return select(*said).where(*which, *in_rollups(asked)).group_by(hour)


def kinds_of(asked: RecordFilter, extent: Extent) -> Select[Any]:
    """Return the statement of the kinds of call (provider, model, basis) that what a filter names has ever been of."""
    years = [str(year) for year in range(extent.start.year, extent.end.year + 1)]
    any_basis = replace(asked, cost_bases=asked.cost_bases or get_args(CostBasis))
    names = ("provider", "model", "cost_basis")
    known = select(*(folds.c[name] for name in names)).where(*in_folds(any_basis, folds.c), folds.c.span.in_(years))
    late = select(*(rollups.c[name] for name in names)).where(tuple_(*KEY) > tuple_(*extent.folded), *in_rollups(asked))
    each = union(known, late).subquery("kinds")
    return select(*(each.c[name] for name in names))


def rarest(asked: RecordFilter, extent: Extent) -> Select[Any]:
    """Return the statement of what a filter names that the fewest records have, as far as they are folded."""
    years = [str(year) for year in range(extent.start.year, extent.end.year + 1)]
    its = folds_by_name.c
    found = []
    for kind in asked.kinds:
        alone = RecordFilter(
            budget_id=asked.budget_id if kind == "budget_id" else None,
            cost_bases=asked.cost_bases if kind == "cost_basis" else (),
        )
        of = [literal(kind).label("kind"), func.coalesce(func.sum(its.record_count), 0).label("number")]
        values = asked.among(kind) if kind in GROUPINGS else ()
        named = [its.name.in_(values)] if values else []
        grouping = its.grouping == (kind if values else "provider")  # of which there are few
        found.append(select(*of).where(*in_folds(alone, its), its.span.in_(years), grouping, *named))
    each = union_all(*found).subquery("each_kind")
    return select(each.c.kind).order_by(each.c.number).limit(1)
