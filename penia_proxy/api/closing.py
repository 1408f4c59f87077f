"""
Close requests for approval that nobody need answer any more.

Its one job: a request whose budget has changed so that there is nothing left to approve lapses, and one that a grant
has made room for is answered by it.
Rules: the caller holds `Services.budget_edits`. A lapse is queued and tried until the ledger has it: a change that is
in force does not fail for it.
"""

from dataclasses import replace
from datetime import datetime

from penia_proxy.api.services import Services
from penia_proxy.budget.alert import approval_key
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.grants import Approval
from penia_proxy.budget.windows import WindowKey
from penia_proxy.config import Period


async def lacks(services: Services, budget: Budget, approval: Approval, at: datetime) -> int:
    """Return what the largest of the refused calls lacks, calls in flight included; not above 0: it would fit."""
    window = budget.calendar.window(approval.period, at)
    tally = (await services.counters.read([WindowKey(budget.budget_id, window.period, window.start)]))[0]
    return tally.spent_nanos + tally.held_nanos + approval.amount_nanos - budget.limits_at(at)[approval.period]


async def answered_by(
    services: Services, budget: Budget, period: Period, amount_nanos: int, at: datetime
) -> Approval | None:
    """Return the request that so much more for a window makes room for; None: there is none, or it lacks more."""
    for approval in _open(services, budget, at):
        if approval.period == period and await lacks(services, budget, approval, at) <= amount_nanos:
            return approval
    return None


def answered(services: Services, approval: Approval) -> None:
    """Nobody is asked any more."""
    services.refusing.approvals.answered(approval)
    services.alerts.resolve(approval_key(approval.approval_id))


async def lapse(services: Services, before: Budget, after: Budget, actor: str) -> None:
    """Let the requests lapse that a budget has no use for since it was changed."""
    now = services.clock.now()
    for approval in _open(services, after, now):
        why = _useless(after, approval, now) or await _fits(services, before, after, approval, now)
        if why is not None:
            services.ledger.lapse(replace(approval, state="lapsed", decided_at=now, reason=why), actor)
            answered(services, approval)


def _open(services: Services, budget: Budget, at: datetime) -> list[Approval]:
    return [one for one in services.refusing.approvals.of(budget.budget_id) if one.state_at(at) == "pending"]


def _useless(budget: Budget, approval: Approval, at: datetime) -> str | None:
    if not budget.is_active:
        return "The budget is inactive."
    if budget.spec.enforcement != "approve" or not budget.refuses:
        return "The budget no longer asks for approval."
    if approval.period not in budget.limits:
        return "The budget no longer has this limit."
    if budget.calendar.window(approval.period, at).start != approval.window_start:
        return "The budget's calendar has changed."
    return None


async def _fits(services: Services, before: Budget, after: Budget, approval: Approval, at: datetime) -> str | None:
    if after.limits[approval.period] <= before.limits.get(approval.period, 0):
        return None
    fits = await lacks(services, after, approval, at) <= 0
    return "The limit was raised, and has room for what was refused." if fits else None
