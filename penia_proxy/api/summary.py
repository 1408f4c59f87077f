"""
Show how a budget stands.

Its one job: `/api/v1/budgets/{id}/summary`: a budget's windows of this moment, in figures.
Rule: the figures are the counters' own, which verdicts are made of; where the window will end is `budget.projection`'s.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, RootModel

from penia_proxy.api.budgets import budget_named
from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Nothing, PeriodName, Sent, Shown
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.money import usd
from penia_proxy.budget.projection import Projection
from penia_proxy.budget.record import Tally
from penia_proxy.budget.windows import Window, WindowKey
from penia_proxy.clock import iso
from penia_proxy.watch.shapes import usd_or_none


class PeriodSummary(Shown):
    """One budget's window."""

    budget_id: str
    name: str
    period: PeriodName
    spent: float
    held: float
    limit: Annotated[float | None, Field(description="the budget's own, and what was granted to this window")]
    granted: float
    remaining: Annotated[float | None, Field(description="limit − spent − held; below zero after an overrun")]
    usage_percent: Annotated[float | None, Field(description="spent of limit, 0–100 and beyond")]
    total_cost: float
    cost_limit: float | None
    remaining_cost: float | None
    cost_usage_percentage: Annotated[float | None, Field(description="spent of limit, 0–1 and beyond")]
    cost_limit_exceeded: bool
    input_tokens: int
    output_tokens: int
    total_tokens_used: int
    request_count: int
    has_unpriced_usage: bool
    projected: Annotated[
        float | None,
        Field(
            description="expected at the window's end, by its pace and the hours and weekdays of the last four weeks"
        ),
    ]
    projected_low: Annotated[float | None, Field(description="one window in ten ends below")]
    projected_high: Annotated[float | None, Field(description="one window in ten ends above")]
    projected_early: Annotated[
        bool,
        Field(description="it rests on no day before and on less than an eighth of the window: no alert goes by it"),
    ]
    exhausted_at: Annotated[
        datetime | None, Field(description="when the limit is then reached; null: not in this window")
    ]
    start_time: datetime
    end_time: datetime | None


class Summaries(RootModel[list[PeriodSummary]]):
    """The asked period first, then every other limited one."""


class SummaryQuery(Sent):
    period: PeriodName | None = None


async def summarize(call: Call[SummaryQuery, Nothing]) -> list[dict[str, Any]]:
    """Show how a budget stands in the windows of this moment."""
    budget = budget_named(call.services, call.path)
    now = call.services.clock.now()
    await call.services.ledger.caught_up()
    windows = [budget.calendar.window(period, now) for period in periods_of(budget, call.query.period)]
    keys = [WindowKey(budget.budget_id, window.period, window.start) for window in windows]
    tallies = await call.services.counters.read(keys)
    limits, projections = budget.limits_at(now), call.services.projections
    return [
        element(
            budget,
            window,
            limits.get(window.period),
            tally,
            await projections.of(budget, window, tally.spent_nanos, now),
        )
        for window, tally in zip(windows, tallies, strict=True)
    ]


def periods_of(budget: Budget, asked: PeriodName | None) -> list[PeriodName]:
    """Return the asked period, then the limited ones. Nothing asked: daily first, where it or nothing is limited."""
    limited = list(budget.limits)
    if asked is None:
        return sorted(limited, key=lambda period: period != "daily") or ["daily"]
    return [asked, *(period for period in limited if period != asked)]


def element(
    budget: Budget, window: Window, limit: int | None, tally: Tally, projection: Projection | None
) -> dict[str, Any]:
    """Return one element of a summary; ``limit`` is the window's, grants included."""
    own = budget.limits.get(window.period)
    spent, held = tally.spent_nanos, tally.held_nanos
    remaining = None if limit is None else usd(limit - spent - held)
    share = _share(spent, limit)
    return {
        "budget_id": budget.budget_id,
        "name": budget.name,
        "period": window.period,
        "spent": usd(spent),
        "held": usd(held),
        "limit": usd_or_none(limit),
        "granted": 0.0 if limit is None or own is None else usd(limit - own),
        "remaining": remaining,
        "usage_percent": None if share is None else share * 100,
        "total_cost": usd(spent),
        "cost_limit": usd_or_none(limit),
        "remaining_cost": remaining,
        "cost_usage_percentage": share,
        "cost_limit_exceeded": limit is not None and spent > limit,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "total_tokens_used": tally.input_tokens + tally.output_tokens,
        "request_count": tally.request_count,
        "has_unpriced_usage": tally.unpriced_count > 0,
        "projected": projection and usd(projection.expected_nanos),
        "projected_low": projection and usd(projection.low_nanos),
        "projected_high": projection and usd(projection.high_nanos),
        "projected_early": projection is not None and not projection.grounded,
        "exhausted_at": _iso_or_none(None if projection is None else projection.exhausted_at),
        "start_time": iso(window.start),
        "end_time": _iso_or_none(window.end),
    }


def _share(spent: int, limit: int | None) -> float | None:
    if limit is None:
        return None
    return spent / limit if limit else 1.0  # nothing is allowed: all of it is used


def _iso_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else iso(instant)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/budgets/{budget_id}/summary",
        handler=summarize,
        tag="budgets",
        query=SummaryQuery,
        response=Summaries,
    ),
)
