"""
Show usage records.

Its one job: `/api/v1/usage/records`: one record, or many in an order, with what was used most among them.
Rules: a client sees its own finished call, so reads wait for what is queued (at most a second). Lists are paged; the
cursor is the ledger's, and stays right while records are added.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Filter, Nothing, Page, Paged, Shown, Since, Until
from penia_proxy.api.shown import RecordShown
from penia_proxy.budget.money import usd
from penia_proxy.budget.usage import CostBasis
from penia_proxy.errors import ArchiveUnavailable, NotFound
from penia_proxy.ledger.orders import ORDERS, Sort
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.watch.shapes import record_json

TOP_USAGE = 10
"""Models named in a list's `top_usage`."""


class TopUsage(Shown):
    """What one model of one provider used, among the newest 2,000 matches; `/usage/summary` has all. USD."""

    model: str
    provider: str
    requests: int
    tokens: int
    cost: float


class Records(Page[RecordShown]):
    """Records, in the order asked for."""

    total_exact: Annotated[bool, Field(description="False: there are more than `total`, the most that is counted.")]
    top_usage: Annotated[
        list[TopUsage], Field(description="Of the newest 2,000 that match; of all, where several things are named.")
    ]
    next_cursor: Annotated[str | None, Field(description="Ask with it for what follows; null: nothing does.")]


class Matching(BaseModel):
    """Which records. An empty value asks for nothing."""

    component: Filter | None = None
    provider: Filter | None = None
    model: Filter | None = None
    task_type: Filter | None = None
    cost_basis: CostBasis | None = None
    budget_id: Annotated[Filter | None, Field(description="Any budget that was charged.")] = None


class RecordsQuery(Matching, Paged):
    start_date: Since | None = None
    end_date: Until | None = None
    sort: Annotated[
        Sort,
        Field(description="`-` is descending. Of equal ones the last written is the greatest, and no cost the least."),
    ] = "-timestamp"
    cursor: Annotated[
        Filter | None, Field(description="`next_cursor` of an answer with the same `sort`; in place of `page`.")
    ] = None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time; ``end`` is not in it."""

    start: datetime | None
    end: datetime | None


def filter_of(asked: Matching, span: Span) -> RecordFilter:
    """Return the ledger's filter."""
    return RecordFilter(
        components=_one(asked.component),
        providers=_one(asked.provider),
        models=_one(asked.model),
        task_types=_one(asked.task_type),
        cost_bases=_one(asked.cost_basis),
        budget_id=asked.budget_id or None,
        start=span.start,
        end=span.end,
    )


async def list_records(call: Call[RecordsQuery, Nothing]) -> dict[str, Any]:
    """List usage records, newest first or as `sort` says."""
    query, ledger = call.query, call.services.ledger
    asked = filter_of(query, Span(query.start_date, query.end_date))
    await ledger.caught_up()
    order = ORDERS[query.sort]
    page = await ledger.lists.records(asked, order=order, page=query.page, limit=query.limit, cursor=query.cursor)
    top = await ledger.summaries.top_usage(asked, TOP_USAGE)
    return {
        "items": [record_json(record) for record in page.records],
        "total": page.total,
        "total_exact": page.exact,
        "page": query.page,
        "limit": query.limit,
        "top_usage": [
            {
                "model": used.model,
                "provider": used.provider,
                "requests": used.requests,
                "tokens": used.tokens,
                "cost": usd(used.cost_nanos),
            }
            for used in top
        ],
        "next_cursor": page.next_cursor,
    }


async def get_record(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show a usage record."""
    await call.services.ledger.caught_up()
    record = await call.services.ledger.queries.record(call.path["record_id"])
    if record is None:
        raise NotFound("There is no usage record with this id.")
    return record_json(record)


def _one(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


_PATH = "/api/v1/usage/records"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_records,
        tag="usage",
        query=RecordsQuery,
        response=Records,
        errors=(ArchiveUnavailable,),
    ),
    Endpoint(
        method="GET",
        path=_PATH + "/{record_id}",
        handler=get_record,
        tag="usage",
        response=RecordShown,
        errors=(ArchiveUnavailable,),
    ),
)
