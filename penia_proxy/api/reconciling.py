"""
Compare with what providers billed.

Its one job: `/api/v1/reconciliations`: a provider's own report beside what was captured in its days.
Rules: nothing is fetched from a provider: its costs are for its administrators, and the report is what they download. A
comparison is kept as of its moment.
"""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import LARGE_BODY_BYTES_MAX, Call, Endpoint, wrong_field
from penia_proxy.api.fields import Filter, Name, Nothing, Page, Paged, Sent, Shown
from penia_proxy.api.services import Services
from penia_proxy.budget.alert import cents
from penia_proxy.budget.money import usd
from penia_proxy.budget.reconciliation import Line, compared, rate, totals
from penia_proxy.clock import iso
from penia_proxy.errors import ArchiveUnavailable, NotFound, Overloaded, StoreUnavailable
from penia_proxy.export.courtesy import calls_first
from penia_proxy.ids import new_id
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.reconciliations import Reconciliation
from penia_proxy.wire.cost_reports import UnknownReport, read_report

DAYS_MAX = 400
LINES_MAX = 20_000


class ReconcileBody(Sent):
    """A provider's report, as its API answered."""

    provider: Annotated[Name | None, Field(description="As configured. Default: `openai` or `anthropic`.")] = None
    report: Annotated[
        Any, Field(description="A page of OpenAI's costs or Anthropic's cost report, or a list of pages.")
    ]


class ReconciliationsQuery(Paged):
    provider: Filter | None = None


class LineShown(Shown):
    """One day and model. USD."""

    day: date
    model: Annotated[str | None, Field(description="Without a snapshot's date; null: billed without a model.")]
    billed: float
    captured: float
    capture_rate: Annotated[float | None, Field(description="Captured ÷ billed; null where nothing was billed.")]
    requests: int
    unpriced_requests: int


class ReconciliationShown(Shown):
    """Billed against captured. USD."""

    reconciliation_id: str
    created_at: datetime
    provider: str
    source: str
    first_day: date
    last_day: date
    is_whole: Annotated[bool, Field(description="False: the report says that more pages follow.")]
    billed: float
    captured: float
    capture_rate: float | None
    drifts: Annotated[bool, Field(description="Whether the rate is so far from 1 that somebody should look.")]


class ReconciliationWithLines(ReconciliationShown):
    """Billed against captured, by day and model. USD."""

    lines: list[LineShown]


async def reconcile(call: Call[Nothing, ReconcileBody]) -> dict[str, Any]:
    """Compare a provider's report of costs with what was captured."""
    services = call.services
    try:
        with calls_first():
            report = await asyncio.to_thread(read_report, call.body.report)
    except UnknownReport as error:
        raise wrong_field("report", str(error)) from None
    if len(report.days) > DAYS_MAX or len(report.lines) > LINES_MAX:
        most = f"{DAYS_MAX} days or {LINES_MAX:,} pairs of day and model"
        raise wrong_field("report", f"has more than {most}: compare it in parts")
    first, last = report.days[0], report.days[-1]
    if (last - first).days >= DAYS_MAX:
        raise wrong_field("report", f"spans more than {DAYS_MAX} days: compare it in parts")
    provider = call.body.provider or report.source
    await services.ledger.caught_up()
    captured = await services.ledger.summaries.by_day_and_model(
        RecordFilter(providers=(provider,), start=_midnight(first), end=_midnight(last + timedelta(days=1)))
    )
    covered = set(report.days)
    lines = compared(report, [used for used in captured if used.day in covered])
    kept = Reconciliation(
        reconciliation_id=new_id("c"),
        created_at=services.clock.now(),
        provider=provider,
        source=report.source,
        first_day=first,
        last_day=last,
        is_whole=report.is_whole,
        lines=tuple(lines),
        **totals(lines),
    )
    await services.ledger.keep_reconciliation(kept)
    services.captured[provider] = kept.captured
    _tell(services, kept)
    return _whole(kept)


def _tell(services: Services, found: Reconciliation) -> None:
    """Tell of a drift that is not open yet; what fits resolves those of its days and of days before."""
    days = [str(found.first_day), str(found.last_day)]
    drifts = [alert for alert in services.alerts.lasting("drift:") if alert.details["provider"] == found.provider]
    known = {alert.once_key: alert.once_key.split(":")[-2:] for alert in drifts}
    if not found.drifts:
        for once_key in [once_key for once_key, (_, last) in known.items() if last <= days[1]]:
            services.alerts.resolve(once_key)
        return
    if days in known.values():
        return
    billed, captured = cents(found.billed_nanos), cents(found.captured_nanos)
    services.alerts.tell(
        "anomaly",
        f"drift:{found.reconciliation_id}:{found.provider}:{found.first_day}:{found.last_day}",
        "warning",
        f"What {found.provider} bills and what was captured differ",
        f"{found.provider} bills ${billed} for {found.first_day} to {found.last_day}; ${captured} of it was captured.",
        details={"provider": found.provider, "reconciliation_id": found.reconciliation_id, "rate": found.rate},
    )


async def list_reconciliations(call: Call[ReconciliationsQuery, Nothing]) -> dict[str, Any]:
    """List comparisons with providers' reports, newest first."""
    query = call.query
    found = await call.services.ledger.reconciliations.page(
        page=query.page, limit=query.limit, provider=query.provider or None
    )
    return {
        "items": [_shown(one) for one in found.items],
        "total": found.total,
        "page": query.page,
        "limit": query.limit,
    }


async def get_reconciliation(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show a comparison by day and model."""
    one = await call.services.ledger.reconciliations.one(call.path["reconciliation_id"])
    if one is None:
        raise NotFound("There is no reconciliation with this id.")
    return _whole(one)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _shown(one: Reconciliation) -> dict[str, Any]:
    return {
        "reconciliation_id": one.reconciliation_id,
        "created_at": iso(one.created_at),
        "provider": one.provider,
        "source": one.source,
        "first_day": str(one.first_day),
        "last_day": str(one.last_day),
        "is_whole": one.is_whole,
        "billed": usd(one.billed_nanos),
        "captured": usd(one.captured_nanos),
        "capture_rate": one.rate,
        "drifts": one.drifts,
    }


def _whole(one: Reconciliation) -> dict[str, Any]:
    return {**_shown(one), "lines": [_line(line) for line in one.lines]}


def _line(line: Line) -> dict[str, Any]:
    return {
        "day": str(line.day),
        "model": line.model,
        "billed": usd(line.billed_nanos),
        "captured": usd(line.captured_nanos),
        "capture_rate": rate(line.billed_nanos, line.captured_nanos),
        "requests": line.requests,
        "unpriced_requests": line.unpriced,
    }


_PATH = "/api/v1/reconciliations"
ENDPOINTS = (
    Endpoint(
        method="POST",
        path=_PATH,
        handler=reconcile,
        tag="reconciliations",
        body=ReconcileBody,
        body_bytes_max=LARGE_BODY_BYTES_MAX,
        response=ReconciliationWithLines,
        status=201,
        errors=(Overloaded, StoreUnavailable, ArchiveUnavailable),
    ),
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_reconciliations,
        tag="reconciliations",
        query=ReconciliationsQuery,
        response=Page[ReconciliationShown],
    ),
    Endpoint(
        method="GET",
        path=_PATH + "/{reconciliation_id}",
        handler=get_reconciliation,
        tag="reconciliations",
        response=ReconciliationWithLines,
    ),
)
