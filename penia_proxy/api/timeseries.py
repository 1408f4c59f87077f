"""
Show usage over time.

Its one job: `/api/v1/usage/timeseries`: cost, calls and tokens of each hour or day of a stretch of time, for a chart.
Rules: a bucket in which nothing was used is there, with zeros. Hours and days are UTC's; the first and the last bucket
hold what of them lies in the stretch. The number of points is bounded: of buckets by a refusal, of groups by one rest.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint, wrong_field
from penia_proxy.api.fields import Nothing, Sent, Shown, Since, Until
from penia_proxy.api.usage import Matching, Span, filter_of
from penia_proxy.budget.money import usd
from penia_proxy.clock import iso
from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.days import Bucket
from penia_proxy.ledger.queries import Grouping, RecordFilter
from penia_proxy.ledger.summary import Sums

BUCKETS_MAX = 1_000
"""Six weeks of hours, nearly three years of days."""
GROUPS_MAX = 20
"""Groups told apart, the dearest; the others are one."""

_WIDTH: Mapping[Bucket, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_USUAL: Mapping[Bucket, int] = {"hour": 24, "day": 30}
"""Buckets where no start is asked for, the present one included."""


class TimeseriesQuery(Matching, Sent):
    """The filters of `/usage/records`."""

    bucket: Bucket = "day"
    group_by: Grouping | None = None
    start_date: Annotated[Since | None, Field(description="Default: 24 hours or 30 days.")] = None
    end_date: Annotated[Until | None, Field(description="Default: now.")] = None


class Point(Shown):
    """What was used in one hour or day. USD."""

    start: datetime
    cost: float
    count: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    unpriced_requests: Annotated[int, Field(description="Of the count; they are in no cost, because none is known.")]


class Series(Shown):
    """One line of a chart."""

    name: Annotated[str | None, Field(description="The group; null without `group_by`, and of the rest.")]
    is_rest: Annotated[bool, Field(description="Whether it is all groups that are not told apart.")]
    total_cost: float
    points: list[Point]


class Timeseries(Shown):
    """Usage over time; with groups, the dearest first."""

    bucket: Bucket
    group_by: Grouping | None
    start_time: datetime
    end_time: datetime
    series: list[Series]


async def usage_timeseries(call: Call[TimeseriesQuery, Nothing]) -> dict[str, Any]:
    """Show usage by hour or day."""
    query, ledger = call.query, call.services.ledger
    span = _span(query, call.services.clock.now())
    starts = _starts(query.bucket, *span)
    await ledger.caught_up()
    asked, summaries = filter_of(query, Span(*span)), ledger.summaries
    if query.group_by is None:
        hours = None
        if query.budget_id and query.bucket == "hour" and _is_of_a_budget(asked):
            hours = await summaries.hours_of(query.budget_id, *span)
        buckets = await summaries.series(asked, query.bucket) if hours is None else hours
        lines = [_line(None, buckets, starts, is_rest=False)]
    else:
        groups = await summaries.series_of_groups(asked, query.bucket, query.group_by, GROUPS_MAX)
        lines = [_line(name, buckets, starts, is_rest=name is None) for name, buckets in groups.items()]
    return {
        "bucket": query.bucket,
        "group_by": query.group_by,
        "start_time": iso(span[0]),
        "end_time": iso(span[1]),
        "series": lines,
    }


def _is_of_a_budget(asked: RecordFilter) -> bool:
    return asked == RecordFilter(budget_id=asked.budget_id, start=asked.start, end=asked.end)


def _span(query: TimeseriesQuery, now: datetime) -> tuple[datetime, datetime]:
    """Return what to show. Raises SchemaViolation for a stretch that starts after its end."""
    width = _WIDTH[query.bucket]
    end = query.end_date or now
    last = _floor(query.bucket, end - timedelta(microseconds=1))
    start = query.start_date or last - (_USUAL[query.bucket] - 1) * width
    if start >= end:
        raise wrong_field("start_date", "must be before end_date, or before now")
    return start, end


def _starts(bucket: Bucket, start: datetime, end: datetime) -> list[datetime]:
    """Return when each bucket begins. Raises SchemaViolation for more than may be."""
    first, width = _floor(bucket, start), _WIDTH[bucket]
    number = -(-(end - first) // width)
    if number > BUCKETS_MAX:
        raise wrong_field("start_date", f"asks for {number:,} points; at most {BUCKETS_MAX:,}: take days, or less time")
    return [first + index * width for index in range(number)]


def _floor(bucket: Bucket, instant: datetime) -> datetime:
    if bucket == "day":
        return datetime.combine(instant.date(), time.min, UTC)
    return instant.replace(minute=0, second=0, microsecond=0)


def _line(
    name: str | None, buckets: Mapping[datetime, Sums], starts: Sequence[datetime], *, is_rest: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "is_rest": is_rest,
        "total_cost": usd(sum(sums.cost_nanos for sums in buckets.values())),
        "points": [_point(start, buckets.get(start, _NOTHING)) for start in starts],
    }


_NOTHING = Sums()


def _point(start: datetime, sums: Sums) -> dict[str, Any]:
    return {
        "start": iso(start),
        "cost": usd(sums.cost_nanos),
        "count": sums.request_count,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "total_tokens": sums.total_tokens,
        "unpriced_requests": sums.unpriced_count,
    }


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/usage/timeseries",
        handler=usage_timeseries,
        tag="usage",
        query=TimeseriesQuery,
        response=Timeseries,
        errors=(ArchiveUnavailable,),
    ),
)
