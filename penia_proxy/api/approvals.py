"""
Answer requests for approval.

Its one job: `/api/v1/approvals`: list what `approve` budgets have asked for, and grant it or not.
Rules: an answer is in force when, and only when, the ledger has it. A request is answered once, and not after its
window is over. Approving without an amount gives what the largest of the refused calls lacks, so that it passes.
"""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.budgets import ACTOR, in_force
from penia_proxy.api.closing import answered, lacks
from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Instant, Nothing, Page, Paged, PeriodName, Sent, Shown
from penia_proxy.api.grants import Granted, GrantShown, Reason, grant_json, grant_of
from penia_proxy.api.services import Services
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.grants import Approval, ApprovalState, Denial, Grant
from penia_proxy.budget.money import nanos_of_usd, usd
from penia_proxy.clock import iso
from penia_proxy.errors import Conflict, InvariantError, NotFound, StoreUnavailable
from penia_proxy.watch.shapes import usd_or_none


class ApprovalsQuery(Paged):
    state: ApprovalState | None = None


class ApproveBody(Sent):
    """How much to give; without an amount, what the largest of the refused calls lacks."""

    amount: Granted | None = None
    reason: Reason | None = None
    expires_at: Instant | None = None


class DenyBody(Sent):
    """Why not."""

    reason: Reason | None = None


class ApprovalShown(Shown):
    """A request to grant one window of a budget more."""

    approval_id: str
    budget_id: str
    name: str
    period: PeriodName
    window_start: datetime
    window_end: datetime | None
    state: Annotated[
        ApprovalState, Field(description="lapsed: nobody answered before the window was over, or `reason`")
    ]
    asked_at: datetime
    component: Annotated[str, Field(description="This, provider, model and request_id: of the first refused call.")]
    provider: str
    model: str
    request_id: str
    amount: Annotated[float, Field(description="What the largest of the refused calls may cost.")]
    needed: Annotated[float | None, Field(description="What it lacks at this moment; null: nothing is open.")]
    refused_calls: int
    last_refused_at: datetime
    decided_at: datetime | None
    reason: str | None


class Approved(ApprovalShown):
    """A request that was granted."""

    grant: GrantShown


async def list_approvals(call: Call[ApprovalsQuery, Nothing]) -> dict[str, Any]:
    """List requests for approval, newest first."""
    services, query = call.services, call.query
    now = services.clock.now()
    services.refusing.approvals.flush()
    await services.ledger.caught_up()
    found = await services.ledger.rulings.approvals(query.state, now, page=query.page, limit=query.limit)
    return {
        "items": [await _json(services, approval, now) for approval in found.items],
        "total": found.total,
        "page": query.page,
        "limit": query.limit,
    }


async def get_approval(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show a request for approval."""
    approval = await _named(call.services, call.path["approval_id"])
    return await _json(call.services, approval, call.services.clock.now())


async def approve(call: Call[Nothing, ApproveBody]) -> dict[str, Any]:
    """Grant a budget what was asked for."""
    return await call.services.unbroken(_approve(call.services, call.path["approval_id"], call.body))


async def deny(call: Call[Nothing, DenyBody]) -> dict[str, Any]:
    """Deny a budget what was asked for: calls are refused until the window is over or somebody grants more."""
    return await call.services.unbroken(_deny(call.services, call.path["approval_id"], call.body))


async def _approve(services: Services, approval_id: str, body: ApproveBody) -> dict[str, Any]:
    async with services.budget_edits:
        now = services.clock.now()
        approval, budget = await _open(services, approval_id, now)
        if approval.period not in budget.limits:
            raise Conflict("The budget no longer has the limit that this request is about.")
        amount = await needed(services, budget, approval, now) if body.amount is None else nanos_of_usd(body.amount)
        reason = body.reason or "approved"
        grant = grant_of(budget, approval.period, amount, now, reason, body.expires_at, approval_id)
        approval = await _decide(services, approval, "approved", now, body.reason, grant)
        in_force(services, budget.ruled(grant, now))
        answered(services, approval)
    shown = await _json(services, approval, now)
    return {**shown, "grant": grant_json(grant, budget, now)}


async def _deny(services: Services, approval_id: str, body: DenyBody) -> dict[str, Any]:
    async with services.budget_edits:
        now = services.clock.now()
        approval, budget = await _open(services, approval_id, now)
        approval = await _decide(services, approval, "denied", now, body.reason, None)
        in_force(services, budget.ruled(Denial(approval.period, now), now))
        answered(services, approval)
    return await _json(services, approval, now)


async def _open(services: Services, approval_id: str, at: datetime) -> tuple[Approval, Budget]:
    """Return a request that can be answered, and its budget. Raises NotFound, Conflict."""
    approval = await _named(services, approval_id)
    state = approval.state_at(at)
    if state == "lapsed":
        if approval.reason is not None:
            raise Conflict(f"This request has lapsed: {approval.reason}")
        raise Conflict("The window that this request is about is over.")
    if state != "pending":
        raise Conflict(f"This request was {state} before.")
    return approval, _budget(services, approval)


async def _decide(
    services: Services,
    approval: Approval,
    state: ApprovalState,
    at: datetime,
    reason: str | None,
    grant: Grant | None,
) -> Approval:
    decided = replace(approval, state=state, decided_at=at, reason=reason)
    await services.ledger.decide(decided, grant, ACTOR)
    return decided


async def _named(services: Services, approval_id: str) -> Approval:
    services.refusing.approvals.flush()
    await services.ledger.caught_up()
    approval = services.refusing.approvals.find(approval_id) or await services.ledger.rulings.approval(approval_id)
    if approval is None:
        raise NotFound("There is no request for approval with this id.")
    return approval


def _budget(services: Services, approval: Approval) -> Budget:
    budget = services.book.get(approval.budget_id)
    if budget is None:
        raise InvariantError("a request for approval names a budget that does not exist")
    return budget


async def needed(services: Services, budget: Budget, approval: Approval, at: datetime) -> int:
    """
    Return what the largest of the refused calls lacks, calls in flight included.

    Where it would fit by now, what it may cost: whoever approves means it to pass, whatever comes before it.
    """
    lacking = await lacks(services, budget, approval, at)
    return lacking if lacking > 0 else max(approval.amount_nanos, 1)


async def _json(services: Services, approval: Approval, at: datetime) -> dict[str, Any]:
    budget, state = _budget(services, approval), approval.state_at(at)
    is_open = state == "pending" and approval.period in budget.limits
    return {
        "approval_id": approval.approval_id,
        "budget_id": approval.budget_id,
        "name": budget.name,
        "period": approval.period,
        "window_start": iso(approval.window_start),
        "window_end": None if approval.window_end is None else iso(approval.window_end),
        "state": state,
        "asked_at": iso(approval.asked_at),
        "component": approval.component,
        "provider": approval.provider,
        "model": approval.model,
        "request_id": approval.request_id,
        "amount": usd(approval.amount_nanos),
        "needed": usd_or_none(await needed(services, budget, approval, at) if is_open else None),
        "refused_calls": approval.refused_calls,
        "last_refused_at": iso(approval.last_refused_at),
        "decided_at": None if approval.decided_at is None else iso(approval.decided_at),
        "reason": approval.reason,
    }


_PATH = "/api/v1/approvals"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_approvals,
        tag="approvals",
        query=ApprovalsQuery,
        response=Page[ApprovalShown],
    ),
    Endpoint(
        method="GET",
        path=_PATH + "/{approval_id}",
        handler=get_approval,
        tag="approvals",
        response=ApprovalShown,
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/{approval_id}/approve",
        handler=approve,
        tag="approvals",
        body=ApproveBody,
        response=Approved,
        errors=(Conflict, StoreUnavailable),
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/{approval_id}/deny",
        handler=deny,
        tag="approvals",
        body=DenyBody,
        response=ApprovalShown,
        errors=(Conflict, StoreUnavailable),
    ),
)
