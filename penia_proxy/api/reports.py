"""
Sum usage up for people.

Its one job: `/api/v1/usage/summary`: totals, groups, ranks and days of a stretch of time.
Rules: an empty stretch answers the same shape with zeros. Periods and days here are UTC's, with weeks from Monday,
because the stretch belongs to no budget. What comes after now is not shown as days of nothing.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from penia_proxy.api.endpoint import Call, Endpoint, wrong_field
from penia_proxy.api.fields import Nothing, PeriodName, Sent, Shown, Since, Until
from penia_proxy.api.services import Services
from penia_proxy.api.usage import Matching, Span, filter_of
from penia_proxy.budget.money import usd
from penia_proxy.budget.windows import EPOCH, Calendar
from penia_proxy.clock import iso
from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.queries import GROUPINGS, Grouping
from penia_proxy.ledger.summary import Sums

DAYS_MAX = 400
"""A year and the month before it."""

_UTC = Calendar.of("UTC", "monday", 1)


class SummaryBody(Matching, Sent):
    """Which stretch of time, one way: `period` (the present one; daily is the default), `days`, or start and end."""

    period: PeriodName | None = None
    days: Annotated[int | None, Field(ge=1, le=DAYS_MAX, description="Today and the days before it.")] = None
    start_time: Since | None = None
    end_time: Until | None = None
    group_by: Annotated[list[Grouping] | None, Field(max_length=10, description="Default: all.")] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.period, self.days, self.start_time or self.end_time)
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give period, days, or start_time and end_time: one of the three")
        if self.start_time and self.end_time and self.start_time >= self.end_time:
            raise ValueError("start_time must be before end_time")
        return self


class Group(Shown):
    """What one of a kind used. USD."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: float
    count: int
    unpriced_requests: Annotated[int, Field(description="Of the count; they are in no cost, because none is known.")]


class Ranked(Shown):
    """One of a kind, most expensive first."""

    name: str
    tokens: int
    cost: float
    unpriced_requests: int
    percentage: Annotated[float, Field(description="Of the cost, 0–100; of the tokens where nothing cost anything.")]


class Day(Shown):
    """One UTC day."""

    date: date
    cost: float
    limit: float | None


class UsageSummary(Shown):
    """What was used in a stretch of time. USD."""

    period: str | None
    start_time: datetime | None
    end_time: datetime
    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int
    total_cost: float
    request_count: int
    count: int
    has_unpriced_usage: bool
    groups: dict[Grouping, dict[str, Group]]
    providers: list[Ranked]
    models: list[Ranked]
    components: list[Ranked]
    daily_usage: Annotated[list[Day], Field(description=f"The last {DAYS_MAX} days of the stretch, up to today.")]
    daily_usage_start: Annotated[date | None, Field(description="The first of these days; null: there is none.")]
    cost_before_daily_usage: Annotated[float, Field(description="USD of the stretch's earlier days; in the totals.")]


async def summarize_usage(call: Call[Nothing, SummaryBody]) -> dict[str, Any]:
    """Sum usage up over a stretch of time."""
    services, body = call.services, call.body
    now = services.clock.now()
    span, end = span_of(body, now)
    await services.ledger.caught_up()
    found = await services.ledger.summaries.summary(filter_of(body, span))
    totals = found.totals
    days = daily(found.daily, span.start, min(end, now), daily_limit(services))
    first = days[0]["date"] if days else None
    return {
        "period": body.period or (None if body.days or body.start_time or body.end_time else "daily"),
        "start_time": None if span.start is None else iso(span.start),
        "end_time": iso(end),
        "total_input_tokens": totals.input_tokens,
        "total_output_tokens": totals.output_tokens,
        "total_tokens": totals.total_tokens,
        "total_cost": usd(totals.cost_nanos),
        "request_count": totals.request_count,
        "count": totals.request_count,
        "has_unpriced_usage": totals.unpriced_count > 0,
        "groups": {
            kind: {name: _group(sums) for name, sums in found.groups[kind].items()}
            for kind in body.group_by or GROUPINGS
        },
        "providers": ranked(found.groups["provider"], totals),
        "models": ranked(found.groups["model"], totals),
        "components": ranked(found.groups["component"], totals),
        "daily_usage": days,
        "daily_usage_start": first,
        "cost_before_daily_usage": usd(sum(nanos for day, nanos in found.daily.items() if first and day < first)),
    }


def span_of(body: SummaryBody, now: datetime) -> tuple[Span, datetime]:
    """Return what to sum up, and the end to show. Raises SchemaViolation for a stretch that starts after its end."""
    if body.days is not None:
        first = datetime.combine(now.date() - timedelta(days=body.days - 1), time.min, UTC)
        return Span(first, None), now
    if body.start_time is not None or body.end_time is not None:
        end = body.end_time or now
        if body.start_time is not None and body.start_time >= end:
            raise wrong_field("start_time", "must be before end_time, or before now")
        return Span(body.start_time, end), end
    window = _UTC.window(body.period or "daily", now)
    return Span(window.start, window.end), window.end or now


def ranked(groups: Mapping[str, Sums], totals: Sums) -> list[dict[str, Any]]:
    """Return a grouping as a list, most expensive first, with shares."""

    def weight(sums: Sums) -> int:
        return sums.cost_nanos if totals.cost_nanos > 0 else sums.total_tokens

    whole = weight(totals)
    order = sorted(groups.items(), key=lambda one: (-weight(one[1]), -one[1].total_tokens, one[0]))
    return [
        {
            "name": name,
            "tokens": sums.total_tokens,
            "cost": usd(sums.cost_nanos),
            "unpriced_requests": sums.unpriced_count,
            "percentage": 100 * weight(sums) / whole if whole else 0.0,
        }
        for name, sums in order
    ]


def daily(costs: Mapping[str, int], start: datetime | None, end: datetime, limit: float | None) -> list[dict[str, Any]]:
    """Return one entry per UTC day, at most the last DAYS_MAX; an open start is the day of the first cost."""
    last = (end - timedelta(microseconds=1)).date()
    earliest = date.fromisoformat(min(costs, default=str(last)))
    first = earliest if start is None or start == EPOCH else start.date()
    first = max(first, last - timedelta(days=DAYS_MAX - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [{"date": str(day), "cost": usd(costs.get(str(day), 0)), "limit": limit} for day in days]


def daily_limit(services: Services) -> float | None:
    """Return the daily limit of the whole: of the budget named Default, or else the oldest that covers everything."""
    whole = [budget for budget in services.book.active if not budget.scope.specificity and "daily" in budget.limits]
    chosen = next((budget for budget in whole if budget.name == "Default"), whole[0] if whole else None)
    return None if chosen is None else usd(chosen.limits["daily"])  # of any day: without what was granted to one


def _group(sums: Sums) -> dict[str, Any]:
    return {
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "total_tokens": sums.total_tokens,
        "cost": usd(sums.cost_nanos),
        "count": sums.request_count,
        "unpriced_requests": sums.unpriced_count,
    }


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/usage/summary",
        handler=summarize_usage,
        tag="usage",
        body=SummaryBody,
        response=UsageSummary,
        errors=(ArchiveUnavailable,),
    ),
)
