"""
Say how providers have been.

Its one job: `/api/v1/providers`: the configured providers, and how their newest calls went.
Rules: of an address its origin only, since the rest can be a key. What it says comes from records: what a provider
answers with an error bills nothing and leaves none, so silence is said as when it last was heard.
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

NEWEST = 200
"""Calls of each provider that are looked at."""
HOUR = timedelta(hours=1)


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
                "last_call_at": iso(newest[0].timestamp) if newest else None,
                "capture_rate": None if captured is None else captured.rate,
            }
        )
    return {"items": items, "total": len(names), "page": query.page, "limit": query.limit}


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
