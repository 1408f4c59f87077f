"""
Top a budget up.

Its one job: `/api/v1/budgets/{id}/grants`: give the present window of a budget more, and list what was given.
Rules: a grant is in force when, and only when, the ledger has it: the book takes it in the step after the
acknowledgement. It is never taken back; one that should end sooner than its window says when. A `grant_id` counts once,
as a `record_id` does in `posting`.
"""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from penia_proxy.api.budgets import ACTOR, budget_named, in_force
from penia_proxy.api.closing import answered, answered_by
from penia_proxy.api.endpoint import Call, Endpoint, Reply, wrong_field
from penia_proxy.api.fields import Instant, Line, Nothing, Page, Paged, PeriodName, RecordId, Sent, Shown
from penia_proxy.api.services import Services
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.grants import Grant
from penia_proxy.budget.money import NANOS_PER_USD, nanos_of_usd, usd
from penia_proxy.clock import iso
from penia_proxy.config import USD_MAX, Limit, Period
from penia_proxy.errors import Conflict, StoreUnavailable
from penia_proxy.ids import new_id

GRANTS_MAX = 100
"""In the present windows of one budget: every verdict adds them up."""

Reason = Annotated[Line, StringConstraints(min_length=1, max_length=500)]
Granted = Annotated[Limit, Field(gt=0, description="USD.")]


class GrantBody(Sent):
    """What to give the present window of a period, and why."""

    period: PeriodName
    amount: Granted
    reason: Reason
    expires_at: Annotated[Instant | None, Field(description="From then on it no longer counts.")] = None
    grant_id: Annotated[RecordId | None, Field(description="The grant's: the same again counts once.")] = None


class GrantShown(Shown):
    """What was given to one window."""

    grant_id: str
    budget_id: str
    period: PeriodName
    window_start: datetime
    window_end: datetime | None
    amount: float
    reason: str
    granted_at: datetime
    expires_at: datetime | None
    approval_id: Annotated[str | None, Field(description="The request for approval that it answers.")]
    counts: Annotated[bool, Field(description="Whether it adds to the limit at this moment.")]


async def list_grants(call: Call[Paged, Nothing]) -> dict[str, Any]:
    """List what was granted to a budget, newest first."""
    budget, now = budget_named(call.services, call.path), call.services.clock.now()
    query = call.query
    await call.services.ledger.caught_up()
    found = await call.services.ledger.rulings.grants(budget.budget_id, page=query.page, limit=query.limit)
    return {
        "items": [grant_json(grant, budget, now) for grant in found.items],
        "total": found.total,
        "page": query.page,
        "limit": query.limit,
    }


async def give_grant(call: Call[Nothing, GrantBody]) -> Reply:
    """Top the present window of a budget up."""
    budget = budget_named(call.services, call.path)
    grant, created = await call.services.unbroken(_give(call.services, budget, call.body))
    return Reply(grant_json(grant, budget, call.services.clock.now()), 201 if created else 200)


async def _give(services: Services, named: Budget, body: GrantBody) -> tuple[Grant, bool]:
    """Return the grant, and whether it was given now."""
    async with services.budget_edits:
        if body.grant_id is not None and (known := await services.ledger.rulings.grant(body.grant_id)) is not None:
            asked = (named.budget_id, body.period, nanos_of_usd(body.amount), body.reason, body.expires_at)
            if asked != (known.budget_id, known.period, known.amount_nanos, known.reason, known.expires_at):
                raise Conflict(f"The grant id {body.grant_id!r} was used before, for another grant.")
            return known, False
        budget = services.book.get(named.budget_id) or named  # as it is now that nobody else changes it
        now = services.clock.now()
        grant = grant_of(budget, body.period, nanos_of_usd(body.amount), now, body.reason, body.expires_at)
        grant = replace(grant, grant_id=body.grant_id or grant.grant_id)
        approval = await answered_by(services, budget, grant.period, grant.amount_nanos, now)
        if approval is None:
            await services.ledger.give(grant, ACTOR)
        else:
            grant = replace(grant, approval_id=approval.approval_id)
            approval = replace(approval, state="approved", decided_at=now, reason=grant.reason)
            await services.ledger.decide(approval, grant, ACTOR)
        in_force(services, budget.ruled(grant, now))
        if approval is not None:
            answered(services, approval)
    return grant, True


def grant_of(
    budget: Budget,
    period: Period,
    amount_nanos: int,
    now: datetime,
    reason: str,
    expires_at: datetime | None,
    approval_id: str | None = None,
) -> Grant:
    """Return a grant of this moment. Raises SchemaViolation, or Conflict where the budget takes none."""
    if not budget.is_active:
        raise Conflict("The budget is inactive, and covers no call.")
    limit = budget.limits_at(now).get(period)
    if limit is None:
        raise wrong_field("period", "the budget has no such limit")
    if amount_nanos <= 0:
        raise wrong_field("amount", "must be at least a nano-dollar")
    if limit + amount_nanos > USD_MAX * NANOS_PER_USD:
        raise wrong_field("amount", f"makes the limit more than {USD_MAX:,} USD")
    if expires_at is not None and expires_at <= now:
        raise wrong_field("expires_at", "must lie in the future")
    if len(budget.grants_within(now)) >= GRANTS_MAX:
        raise Conflict(f"The present windows of the budget have {GRANTS_MAX} grants; change its limit instead.")
    return Grant(new_id("g"), budget.budget_id, period, amount_nanos, reason, now, expires_at, approval_id)


def grant_json(grant: Grant, budget: Budget, at: datetime) -> dict[str, Any]:
    """Return a grant as it stands at an instant."""
    window = budget.calendar.window(grant.period, grant.granted_at)
    return {
        "grant_id": grant.grant_id,
        "budget_id": grant.budget_id,
        "period": grant.period,
        "window_start": iso(window.start),
        "window_end": None if window.end is None else iso(window.end),
        "amount": usd(grant.amount_nanos),
        "reason": grant.reason,
        "granted_at": iso(grant.granted_at),
        "expires_at": None if grant.expires_at is None else iso(grant.expires_at),
        "approval_id": grant.approval_id,
        "counts": grant.period in budget.limits and grant.counts(budget.calendar, at),
    }


_PATH = "/api/v1/budgets/{budget_id}/grants"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_grants,
        tag="budgets",
        query=Paged,
        response=Page[GrantShown],
    ),
    Endpoint(
        method="POST",
        path=_PATH,
        handler=give_grant,
        tag="budgets",
        body=GrantBody,
        response=GrantShown,
        status=201,
        also=(200,),
        errors=(Conflict, StoreUnavailable),
    ),
)
