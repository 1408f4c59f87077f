"""
Hold money over the API.

Its one job: `/api/v1/holds`: a component that calls a provider directly holds what its call may cost, and says what it
used.
Rules: a hold is refused by the same verdict as a call. A budget that truncates cannot cut such a call off, so the least
it holds is what is expected. A hold's id begins with ``h_``; made of a request id, it is an idempotency key.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints

from penia_proxy.api.check import CheckBody, amounts
from penia_proxy.api.endpoint import Call, Endpoint, Reply
from penia_proxy.api.fields import Name, Nothing, Shown
from penia_proxy.api.open_holds import Said, Wanted
from penia_proxy.api.posting import Used
from penia_proxy.api.shown import RecordShown
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.money import usd
from penia_proxy.budget.scope import Facts
from penia_proxy.clock import iso
from penia_proxy.errors import (
    ApprovalRequired,
    BudgetBusy,
    BudgetExceeded,
    Conflict,
    DuplicateRequest,
    Overloaded,
    StoreUnavailable,
    UnboundedCall,
    UnpricedModel,
)
from penia_proxy.ids import new_id
from penia_proxy.watch.shapes import record_json

TTL_S = 600
TTL_S_MAX = 86_400


class HoldBody(CheckBody):
    """What the call may cost: `estimated_cost`, or the size of the input and, best, of the output."""

    provider: Name
    model: Name
    ttl_seconds: Annotated[
        float, Field(ge=1, le=TTL_S_MAX, description="Then it is booked at what it held.", allow_inf_nan=False)
    ] = TTL_S
    task_type: Name | None = None
    request_id: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,62}$")] | None,
        Field(description="The same again is the first hold."),
    ] = None


class SettleBody(Used):
    """What was used. Without `cost`, the tokens are priced at the prices of when it was held."""

    model: Annotated[Name | None, Field(description="The one that answered, where it is another.")] = None


class HoldShown(Shown):
    """An open hold."""

    hold_id: str
    verdict: Literal["allow", "warn"]
    reason: str
    amount: Annotated[float, Field(description="USD: the most that any budget holds.")]
    expires_at: datetime


class HoldReleased(Shown):
    """A hold that cost nothing."""

    hold_id: str
    state: Literal["released"]


async def open_hold(call: Call[Nothing, HoldBody]) -> Any:
    """Hold what a call may cost that is made without the gateway."""
    services, body = call.services, call.body
    expected, most = amounts(services, body)
    ask = Ask(
        expected,
        most,
        "" if most is not None else "max_output_tokens is missing, and no maximum is stated",
        least_nanos=expected or 0,
        grows=False,
    )
    said = body.model_dump(exclude_unset=True)
    wanted = Wanted(
        hold_id=f"h_{body.request_id}" if body.request_id else new_id("h"),
        facts=Facts(body.component, body.provider, body.model, body.tags),
        ask=ask,
        ttl_s=body.ttl_seconds,
        fingerprint=hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        task_type=body.task_type,
        pricing_version=services.prices.version,
    )
    opened, created = await services.unbroken(services.holds.open(wanted))
    shown = {
        "hold_id": opened.hold.hold_id,
        "verdict": opened.verdict.kind,
        "reason": opened.verdict.reason,
        "amount": usd(opened.hold.amount_nanos),
        "expires_at": iso(opened.expires_at),
    }
    return Reply(shown, 201 if created else 200)


async def settle_hold(call: Call[Nothing, SettleBody]) -> Any:
    """Say what was used of a hold; after it has expired, that corrects its record."""
    services, body = call.services, call.body
    said = Said(
        bill=lambda provider, model, at: body.bill(body.model or model, lambda one: services.card(provider, one, at)),
        fingerprint=body.fingerprint,
        metadata=body.metadata,
    )
    record, created = await services.unbroken(services.holds.settle(call.path["hold_id"], said))
    return Reply(record_json(record), 201 if created else 200)


async def release_hold(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Give a hold back that nothing was used of."""
    await call.services.unbroken(call.services.holds.release(call.path["hold_id"]))
    return {"hold_id": call.path["hold_id"], "state": "released"}


_PATH = "/api/v1/holds"
ENDPOINTS = (
    Endpoint(
        method="POST",
        path=_PATH,
        handler=open_hold,
        tag="holds",
        body=HoldBody,
        response=HoldShown,
        status=201,
        also=(200,),
        errors=(
            ApprovalRequired,
            BudgetBusy,
            BudgetExceeded,
            Conflict,
            DuplicateRequest,
            Overloaded,
            StoreUnavailable,
            UnboundedCall,
            UnpricedModel,
        ),
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/{hold_id}/settle",
        handler=settle_hold,
        tag="holds",
        body=SettleBody,
        response=RecordShown,
        status=201,
        also=(200,),
        errors=(Conflict, StoreUnavailable),
    ),
    Endpoint(
        method="DELETE",
        path=_PATH + "/{hold_id}",
        handler=release_hold,
        tag="holds",
        response=HoldReleased,
        errors=(Conflict, StoreUnavailable),
    ),
)
