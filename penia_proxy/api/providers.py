"""
Say how providers have been.

Its one job: `/api/v1/providers`: the configured providers, and how their newest calls went.
Rules: of an address its origin only, since the rest can be a key. Times come from records; what a provider answers with
an error bills nothing and leaves none, so errors are those that the gateway has counted since it started.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Nothing, Page, Paged, Shown
from penia_proxy.budget.record import UsageRecord
from penia_proxy.clock import iso
from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.watch.attempts import HOUR_S, LATELY_S, Attempts, Outcome, State, failure_rate, state_of

NEWEST = 200
"""Calls of each provider that are looked at."""
HOUR = timedelta(hours=1)


class Counted(Shown):
    """
    Attempts by what they came to; each is counted when it ends, a WebSocket when it has opened.

    429 is rate_limited, any other 4xx client_error.
    """

    ok: int
    rate_limited: int
    client_error: int
    server_error: int
    timeout: int
    unreachable: int
    broken: Annotated[int, Field(description="The provider hung up before or in its answer.")]


class AttemptsShown(Shown):
    """None of it outlives the process."""

    last_5_minutes: Counted
    last_hour: Counted
    since_start: Counted


class LastFailure(Shown):
    """Since the start; null: there was none."""

    outcome: Outcome
    at: datetime


class ProviderShown(Shown):
    """A configured provider. Figures are of its calls of the last hour, the newest 200 at most."""

    name: str
    format: str
    address: str
    calls: int
    broken: Annotated[int, Field(description="Of the calls: the answer broke off, or did not come in time.")]
    left: Annotated[int, Field(description="Of the calls: the caller hung up.")]
    latency_ms: Annotated[float | None, Field(description="Median, of whole answers.")]
    ttft_ms: Annotated[float | None, Field(description="Median time to the first byte.")]
    last_call_at: Annotated[datetime | None, Field(description="Of any record; null: there is none.")]
    state: Annotated[
        State,
        Field(
            description="By the attempts of the last five minutes: quiet: there are none; failing: half of them failed,"
            " and three at least; degraded: one in twenty failed. Failures are all outcomes but ok and client_error."
        ),
    ]
    failure_rate: Annotated[float | None, Field(description="Of the last five minutes, 0–1; null: no attempts.")]
    last_failure: LastFailure | None
    attempts: AttemptsShown
    capture_rate: Annotated[float | None, Field(description="Captured ÷ billed, of its newest reconciliation.")]


async def list_providers(call: Call[Paged, Nothing]) -> dict[str, Any]:
    """List the configured providers, and how their newest calls went."""
    services, query = call.services, call.query
    await services.ledger.caught_up()
    now = services.clock.now()
    names = sorted(services.config.providers)
    first = (query.page - 1) * query.limit
    items = []
    for name in names[first : first + query.limit]:
        provider = services.config.providers[name]
        asked, history = RecordFilter(providers=(name,)), services.ledger.history
        newest = await history.newest(replace(asked, start=now - HOUR), NEWEST) or await history.newest(asked, 1)
        captured = services.captured.get(name)
        parts = urlsplit(provider.base_url)
        items.append(
            {
                "name": name,
                "format": provider.format,
                "address": f"{parts.scheme}://{parts.netloc}",
                **_figures([record for record in newest if record.timestamp > now - HOUR]),
                **_health(services.attempts.at(name)),
                "last_call_at": iso(newest[0].timestamp) if newest else None,
                "capture_rate": None if captured is None else captured.rate,
            }
        )
    return {"items": items, "total": len(names), "page": query.page, "limit": query.limit}


def _health(attempts: Attempts) -> dict[str, Any]:
    lately, failure = attempts.within(LATELY_S), attempts.last_failure
    return {
        "state": state_of(lately),
        "failure_rate": failure_rate(lately),
        "last_failure": failure and {"outcome": failure.outcome, "at": iso(failure.at)},
        "attempts": {
            "last_5_minutes": lately,
            "last_hour": attempts.within(HOUR_S),
            "since_start": dict(attempts.since_start),
        },
    }


def _figures(records: Sequence[UsageRecord]) -> dict[str, Any]:
    whole = [record for record in records if record.status == "ok"]
    return {
        "calls": len(records),
        "broken": sum(record.status in ("error", "timeout", "crashed") for record in records),
        "left": sum(record.status == "disconnected" for record in records),
        "latency_ms": _median([record.latency_ms for record in whole]),
        "ttft_ms": _median([record.ttft_ms for record in whole]),
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 1) if known else None


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/providers",
        handler=list_providers,
        tag="configuration",
        query=Paged,
        response=Page[ProviderShown],
        errors=(ArchiveUnavailable,),
    ),
)
