"""
Book a call that was made without us.

Its one job: `POST /api/v1/usage/record`: a component says what it used, and every budget that covers it is charged.
Rules: a `record_id` counts once; the same content again is the first record, another content is a conflict. Counters
move only for what the ledger has acknowledged as new. What has no known price is `unpriced`, never 0.
"""

import hashlib
from datetime import timedelta
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, model_validator

from penia_proxy.api.endpoint import Call, Endpoint, Reply, wrong_field
from penia_proxy.api.fields import Instant, Metadata, Name, Nothing, RecordId, Sent, Tags, Tokens
from penia_proxy.api.services import Services
from penia_proxy.api.shown import RecordShown
from penia_proxy.budget.bill import Bill, CardOf, bill_of
from penia_proxy.budget.money import CALL_NANOS_MAX, NANOS_PER_USD, nanos_of_usd
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.usage import Usage
from penia_proxy.config import Limit
from penia_proxy.errors import ArchiveUnavailable, Conflict, InvalidRequest, StoreUnavailable
from penia_proxy.ids import new_id
from penia_proxy.watch.shapes import record_json

AHEAD_MAX = timedelta(minutes=5)
"""How far another machine's clock may be ahead of ours; a later instant would be spend of a window to come."""


class Used(Sent):
    """
    What was used.

    `input_tokens` is all input, cached included. Of the input, the output and the total, one may be left out.
    """

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    total_tokens: Tokens | None = None
    cost: Annotated[Limit | None, Field(le=CALL_NANOS_MAX // NANOS_PER_USD)] = None
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        known = (self.input_tokens, self.output_tokens, self.total_tokens)
        cached = self.cache_read_tokens + self.cache_write_tokens
        if self.cost is None and all(count is None for count in known) and not cached:
            raise ValueError("give cost, or the tokens to price")
        if self.cost is None and self.input_tokens is None and self.output_tokens is None and self.total_tokens:
            raise ValueError("without cost, total_tokens needs input_tokens or output_tokens: they differ in price")
        if None not in known and (self.input_tokens or 0) + (self.output_tokens or 0) != self.total_tokens:
            raise ValueError("total_tokens must be input_tokens + output_tokens")
        if self.total_tokens is not None and (self.input_tokens or 0) + (self.output_tokens or 0) > self.total_tokens:
            raise ValueError("total_tokens must not be less than input_tokens and output_tokens")
        if cached and self.input_tokens is None and self.total_tokens is None:
            raise ValueError("cached tokens are part of input_tokens; give that, too")
        if cached > self.input_total:
            raise ValueError("cache_read_tokens and cache_write_tokens are part of input_tokens, and exceed it")
        return self

    @property
    def input_total(self) -> int:
        """All input; of a total alone, everything."""
        if self.input_tokens is not None:
            return self.input_tokens
        return 0 if self.total_tokens is None else self.total_tokens - (self.output_tokens or 0)

    @property
    def usage(self) -> Usage:
        """The counts, disjoint."""
        output = self.output_tokens
        if output is None:
            output = 0 if self.total_tokens is None else self.total_tokens - self.input_total
        return Usage(
            input=self.input_total - self.cache_read_tokens - self.cache_write_tokens,
            cache_read=self.cache_read_tokens,
            cache_write=self.cache_write_tokens,
            output=output,
        )

    @property
    def fingerprint(self) -> str:
        """Of what was said, however it was written."""
        said = self.model_dump(exclude_unset=True)
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def bill(self, model: str, card_of: CardOf) -> Bill:
        """Return what it cost: what was said, or else what the tokens come to. Raises InvalidRequest for too much."""
        if self.cost is None:
            bill = bill_of([(None, self.usage)], model, "client", card_of)
            if bill.clamped:
                raise InvalidRequest("a record costs at most 1,000,000 USD")
            return bill
        return Bill(model, self.usage, "client", nanos_of_usd(self.cost), None)


class RecordBody(Used):
    """
    What was used, by whom, and of which model.

    `input_tokens` is all input, cached included. Of the input, the output and the total, one may be left out. Without
    `cost`, the tokens are priced at `timestamp`'s prices.
    """

    component: Name
    provider: Name
    model: Name
    timestamp: Instant | None = None
    task_type: Name | None = None
    request_id: RecordId | None = None
    record_id: RecordId | None = None
    tags: Tags = Field(default_factory=dict)


async def post_record(call: Call[Nothing, RecordBody]) -> Any:
    """Book a call that was made without the gateway."""
    record = record_of(call.services, call.body)
    kept, created = await call.services.unbroken(book(call.services, record, call.body.fingerprint))
    return Reply(record_json(kept), 201 if created else 200)


def record_of(services: Services, body: RecordBody) -> UsageRecord:
    """Return the record a body stands for. Raises SchemaViolation for an instant that has not come yet."""
    now = services.clock.now()
    timestamp = body.timestamp or now
    if timestamp > now + AHEAD_MAX:
        raise wrong_field("timestamp", "lies in the future")
    bill = body.bill(body.model, lambda model: services.card(body.provider, model, timestamp))
    budgets = services.book.covering(Facts(body.component, body.provider, body.model, body.tags))
    return UsageRecord(
        record_id=body.record_id or new_id("r"),
        timestamp=timestamp,
        component=body.component,
        provider=body.provider,
        model=body.model,
        usage=bill.usage,
        cost_basis=bill.basis,
        cost_nanos=bill.cost_nanos,
        input_cost_nanos=bill.input_cost_nanos,
        budget_ids=tuple(budget.budget_id for budget in budgets),
        task_type=body.task_type,
        request_id=body.request_id,
        pricing_version=services.prices.version if body.cost is None else None,
        tags=body.tags,
        metadata=body.metadata,
    )


async def book(services: Services, record: UsageRecord, fingerprint: str) -> tuple[UsageRecord, bool]:
    """Write a record, then count it. The two belong together: run it unbroken."""
    kept, created = await services.ledger.append(record, fingerprint)
    if created:
        found = (services.book.get(budget_id) for budget_id in record.budget_ids)
        await services.counters.charge(kept, [budget for budget in found if budget is not None])
        services.projections.recorded(kept.budget_ids, kept.timestamp)
        services.announcer.published(kept)
        services.announcer.touched(kept.budget_ids)
    return kept, created


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/usage/record",
        handler=post_record,
        tag="usage",
        body=RecordBody,
        response=RecordShown,
        status=201,
        also=(200,),
        errors=(Conflict, StoreUnavailable, ArchiveUnavailable),
    ),
)
