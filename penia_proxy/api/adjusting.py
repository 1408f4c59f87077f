"""
Correct what a record cost.

Its one job: `POST /api/v1/usage/records/{id}/adjust`: a record is never changed; another is appended, with the
difference between what the call has come to so far and what it is now known to cost.
Rules: the correction counts in the windows of the call, in the budgets that the call was charged to. A `record_id` of
the correction's counts once, as in `posting`. A bill that comes later replaces what was said here of a guess.
"""

import hashlib
from dataclasses import replace
from typing import Annotated

import orjson
from pydantic import Field, StringConstraints

from penia_proxy.api.endpoint import Call, Endpoint, Reply
from penia_proxy.api.fields import Line, Nothing, RecordId, Sent
from penia_proxy.api.posting import book
from penia_proxy.api.services import Services
from penia_proxy.api.shown import RecordShown
from penia_proxy.budget.bill import is_unpriced
from penia_proxy.budget.money import CALL_NANOS_MAX, NANOS_PER_USD, nanos_of_usd
from penia_proxy.budget.record import ADJUSTED_AT, REASON, UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import iso
from penia_proxy.config import Limit
from penia_proxy.errors import ArchiveUnavailable, Conflict, InvalidRequest, NotFound, StoreUnavailable
from penia_proxy.ids import new_id
from penia_proxy.watch.shapes import record_json


class AdjustBody(Sent):
    """What a call cost after all."""

    cost: Annotated[Limit, Field(le=CALL_NANOS_MAX // NANOS_PER_USD, description="The whole call's, USD.")]
    reason: Annotated[Line, StringConstraints(min_length=1, max_length=500)]
    record_id: Annotated[RecordId | None, Field(description="The correction's: the same again counts once.")] = None


async def adjust_record(call: Call[Nothing, AdjustBody]) -> Reply:
    """Correct what a usage record cost, by appending the difference."""
    kept, created = await call.services.unbroken(_adjust(call.services, call.path["record_id"], call.body))
    return Reply(record_json(kept), 201 if created else 200)


async def _adjust(services: Services, record_id: str, body: AdjustBody) -> tuple[UsageRecord, bool]:
    async with services.ledger.correcting:
        await services.ledger.caught_up()
        first = await services.ledger.queries.record(record_id)
        if first is None:
            raise NotFound("There is no usage record with this id.")
        if first.corrects is not None:
            raise InvalidRequest(f"This record is itself a correction: adjust the one it corrects, {first.corrects}.")
        before = await services.ledger.corrections(record_id)
        so_far = sum(one.cost_nanos or 0 for one in (first, *before))
        correction = replace(
            first,
            record_id=body.record_id or new_id("a"),
            usage=Usage(),
            cost_basis="repriced" if is_unpriced(first, before) else "client",
            cost_nanos=nanos_of_usd(body.cost) - so_far,
            input_cost_nanos=None,
            pricing_version=None,
            estimated_nanos=None,
            status="ok",
            latency_ms=None,
            ttft_ms=None,
            corrects=record_id,
            once_key=None,
            words=None,
            metadata={REASON: body.reason, ADJUSTED_AT: iso(services.clock.now())},
        )
        return await book(services, correction, _fingerprint(record_id, body))


def _fingerprint(record_id: str, body: AdjustBody) -> str:
    return hashlib.sha256(orjson.dumps([record_id, body.cost, body.reason])).hexdigest()


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/usage/records/{record_id}/adjust",
        handler=adjust_record,
        tag="usage",
        body=AdjustBody,
        response=RecordShown,
        status=201,
        also=(200,),
        errors=(Conflict, InvalidRequest, StoreUnavailable, ArchiveUnavailable),
    ),
)
