"""
Say why.

Its one job: what a call's verdict was made of, from what its record or its refusal has kept: which budgets applied, in
what order, and each window's figures at that moment.
Rules: the figures are the kept ones, never those of now; only a budget's name is. What was booked without a verdict
says so.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Filter, Nothing, Page, Paged, PeriodName, Shown
from penia_proxy.api.services import Services
from penia_proxy.budget.money import usd, usd_text
from penia_proxy.budget.record import ADJUSTED_AT, REASON, UsageRecord
from penia_proxy.budget.usage import CostBasis
from penia_proxy.budget.words import Refusal, Word, Words, words_of
from penia_proxy.clock import iso
from penia_proxy.errors import ArchiveUnavailable, NotFound
from penia_proxy.watch.shapes import usd_or_none

Kind = Literal["allow", "warn", "block"]


WITHOUT_A_VERDICT = "It was booked without a verdict."


class WindowWord(Shown):
    """One window's word, with the figures before the call's own amount. USD."""

    period: PeriodName
    window_start: datetime
    verdict: Kind
    code: str | None
    limit: float | None
    spent: float
    held: float
    remaining: float | None
    amount: Annotated[float, Field(description="What this budget held, or would have held, for the call.")]
    why: str


class BudgetWords(Shown):
    """One budget that applied."""

    budget_id: str
    name: Annotated[str | None, Field(description="As it is now.")]
    windows: Annotated[list[WindowWord], Field(description="Its limited ones; none: nothing limits it.")]


class CorrectionShown(Shown):
    """What was added to a call's cost after it was booked. USD."""

    record_id: str
    cost: float | None
    cost_basis: CostBasis
    at: Annotated[datetime | None, Field(description="When it was made; null: before that was kept.")]
    why: str | None


class Explanation(Shown):
    """What a recorded call's verdict was made of, and how it came to cost what it does."""

    record_id: str
    verdict: Annotated[Kind | None, Field(description="null: it was booked without one")]
    reason: str
    estimated_cost: Annotated[float | None, Field(description="What was held.")]
    cost: float | None
    cost_basis: CostBasis
    corrects: str | None
    corrections: Annotated[list[CorrectionShown], Field(description="In the order of writing.")]
    total_cost: Annotated[float | None, Field(description="With its corrections; null: no price is known.")]
    budgets: Annotated[list[BudgetWords], Field(description="In the order they were asked in: most specific first.")]


class RefusalShown(Shown):
    """A call that a budget refused."""

    request_id: str
    at: datetime
    component: str
    provider: str
    model: str
    code: str
    message: str
    budget_id: Annotated[str, Field(description="The budget whose word decided.")]
    name: str | None
    estimated_cost: float
    approval_id: str | None
    not_kept: Annotated[int, Field(description="Refusals before it, since the one listed next, too many to keep.")]


class RefusalExplained(RefusalShown):
    """A refusal, and what its verdict was made of."""

    budgets: Annotated[list[BudgetWords], Field(description="In the order they were asked in: most specific first.")]


class RefusalList(Page[RefusalShown]):
    """Refusals, newest first."""

    not_kept: Annotated[int, Field(description="Since the newest one, too many to keep.")]


class RefusalsQuery(Paged):
    component: Filter | None = None
    budget_id: Annotated[Filter | None, Field(description="The budget whose word decided.")] = None
    code: Filter | None = None


async def explain_record(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Say what the verdict of a recorded call was made of."""
    services = call.services
    await services.ledger.caught_up()
    record = await services.ledger.queries.record(call.path["record_id"])
    if record is None:
        raise NotFound("There is no usage record with this id.")
    corrections = await services.ledger.queries.corrections(record.record_id)
    costs = [one.cost_nanos for one in (record, *corrections) if one.cost_nanos is not None]
    words = words_of(record.words)
    without = (_why_corrected(record) or "It corrects another record.") if record.corrects else WITHOUT_A_VERDICT
    charged = Words("allow", without, tuple((budget_id, ()) for budget_id in record.budget_ids))
    return {
        "record_id": record.record_id,
        "verdict": words and words.kind,
        "reason": (words or charged).reason,
        "estimated_cost": usd_or_none(record.estimated_nanos),
        "cost": usd_or_none(record.cost_nanos),
        "cost_basis": record.cost_basis,
        "corrects": record.corrects,
        "corrections": [_correction(one) for one in corrections],
        "total_cost": usd(sum(costs)) if costs else None,
        "budgets": _budgets(services, words or charged),
    }


async def list_refusals(call: Call[RefusalsQuery, Nothing]) -> dict[str, Any]:
    """List what budgets have refused, newest first."""
    services, query = call.services, call.query
    await services.ledger.caught_up()
    filters = {"component": query.component, "budget_id": query.budget_id, "code": query.code}
    found = await services.ledger.rulings.refusals(filters, page=query.page, limit=query.limit)
    return {
        "items": [_refusal(services, refusal) for refusal in found.items],
        "total": found.total,
        "page": query.page,
        "limit": query.limit,
        "not_kept": services.refusing.refusals.not_kept,
    }


async def explain_refusal(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Say why a call was refused: the newest one with this request id."""
    services = call.services
    await services.ledger.caught_up()
    refusal = await services.ledger.rulings.refusal(call.path["request_id"])
    if refusal is None:
        raise NotFound("No refusal of this request id is kept.")
    words = words_of(refusal.words)
    return {**_refusal(services, refusal), "budgets": _budgets(services, words) if words else []}


def _correction(one: UsageRecord) -> dict[str, Any]:
    return {
        "record_id": one.record_id,
        "cost": usd_or_none(one.cost_nanos),
        "cost_basis": one.cost_basis,
        "at": one.metadata.get(ADJUSTED_AT),
        "why": _why_corrected(one),
    }


def _why_corrected(one: UsageRecord) -> str | None:
    reason = one.metadata.get(REASON)
    return reason if isinstance(reason, str) else None


def _refusal(services: Services, refusal: Refusal) -> dict[str, Any]:
    return {
        "request_id": refusal.request_id,
        "at": iso(refusal.at),
        "component": refusal.component,
        "provider": refusal.provider,
        "model": refusal.model,
        "code": refusal.code,
        "message": refusal.message,
        "budget_id": refusal.budget_id,
        "name": _name(services, refusal.budget_id),
        "estimated_cost": usd(refusal.amount_nanos),
        "approval_id": refusal.approval_id,
        "not_kept": refusal.not_kept,
    }


def _budgets(services: Services, words: Words) -> list[dict[str, Any]]:
    return [
        {"budget_id": budget_id, "name": _name(services, budget_id), "windows": [_window(word) for word in said]}
        for budget_id, said in words.budgets
    ]


def _name(services: Services, budget_id: str) -> str | None:
    budget = services.book.get(budget_id)
    return None if budget is None else budget.name


def _window(word: Word) -> dict[str, Any]:
    limit, used = word.limit_nanos, word.spent_nanos + word.held_nanos
    return {
        "period": word.period,
        "window_start": iso(word.window_start),
        "verdict": word.kind,
        "code": word.code,
        "limit": usd_or_none(limit),
        "spent": usd(word.spent_nanos),
        "held": usd(word.held_nanos),
        "remaining": None if limit is None else usd(limit - used),
        "amount": usd(word.amount_nanos),
        "why": _why(word),
    }


def _why(word: Word) -> str:
    """Return the sum that decided, or what there was nothing to add up for."""
    if word.code in ("unpriced_model", "unbounded_call"):
        return {"unpriced_model": "No price is known.", "unbounded_call": "The most it can cost is not known."}[
            word.code
        ]
    total = word.spent_nanos + word.held_nanos + word.amount_nanos
    parts = f"${usd_text(word.spent_nanos)} spent + ${usd_text(word.held_nanos)} held"
    whole = f"{parts} + ${usd_text(word.amount_nanos)} for this call = ${usd_text(total)}"
    return f"{whole} of ${usd_text(word.limit_nanos or 0)}"


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/usage/records/{record_id}/explain",
        handler=explain_record,
        tag="usage",
        response=Explanation,
        errors=(ArchiveUnavailable,),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/refusals",
        handler=list_refusals,
        tag="usage",
        query=RefusalsQuery,
        response=RefusalList,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/refusals/{request_id}",
        handler=explain_refusal,
        tag="usage",
        response=RefusalExplained,
    ),
)
