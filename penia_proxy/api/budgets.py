"""
Keep budgets.

Its one job: `/api/v1/budgets`: list, create, read, change, deactivate.
Rules: a change is in force when, and only when, the ledger has it: the book takes it in the step after the
acknowledgement. A budget is never deleted, because records name it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError, create_model

from penia_proxy.api.advice import Warned, warnings_of
from penia_proxy.api.calendars import move_windows
from penia_proxy.api.closing import lapse
from penia_proxy.api.endpoint import Call, Endpoint, violation, wrong_field
from penia_proxy.api.fields import Filter, Line, Metadata, Nothing, Page, Paged, Sent, Shown
from penia_proxy.api.services import Services
from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.clock import iso
from penia_proxy.config import BudgetSpec, BudgetWritten, Enforcement, Overrun, ScopeSpec, Unpriced, Weekday
from penia_proxy.errors import ArchiveUnavailable, Conflict, NotFound, StoreUnavailable
from penia_proxy.ids import new_id

ACTOR = "api"
"""Who the audit log names while no keys say more."""

BUDGETS_MAX = 10_000
"""Every call is matched against every active budget."""


class BudgetBody(BudgetWritten):
    """A new budget. Limits are USD; a limit that is absent or null does not limit."""

    owner: Annotated[Line, StringConstraints(max_length=200)] | None = None
    metadata: Metadata = Field(default_factory=dict)


def _optional(model: type[BaseModel]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        fields[name] = (kind | None, None)
    return fields


BudgetChange = create_model(
    "BudgetChange",
    __base__=Sent,
    __doc__="""
    What to change; null clears a limit.

    The whole of a budget may be sent back: what cannot be changed must then be as it is, and an `updated_at` that is
    not the budget's own means that somebody else was faster (409).
    """,
    **_optional(BudgetBody),
    is_active=(bool | None, None),
    budget_id=(str | None, None),
    created_at=(str | None, None),
    updated_at=(str | None, None),
    warnings=(list[Any] | None, None),
)


class BudgetShown(Shown):
    """A budget."""

    budget_id: str
    name: str
    description: str | None
    owner: str | None
    hourly_limit: float | None
    daily_limit: float | None
    weekly_limit: float | None
    monthly_limit: float | None
    total_limit: float | None
    scope: ScopeSpec
    enforcement: Enforcement
    overrun: Overrun
    unpriced: Unpriced
    shadow: bool
    warn_at: float
    timezone: str
    week_start: Weekday
    month_start_day: int
    is_active: bool
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, Any]


class BudgetSaid(BudgetShown):
    """A budget that was just written, and what is odd about it."""

    warnings: list[Warned]


class BudgetDeactivated(BudgetShown):
    """A budget that no longer covers any call."""

    message: str


class BudgetsQuery(Paged):
    is_active: bool | None = None
    owner: Filter | None = None
    component: Annotated[Filter | None, Field(description="Budgets whose scope covers this component.")] = None


def budget_json(budget: Budget) -> dict[str, Any]:
    """Return a budget as api.md §2 shows it; `unpriced` is what is in force."""
    return {
        "budget_id": budget.budget_id,
        **budget.spec.model_dump(mode="json"),
        "unpriced": budget.unpriced,
        "is_active": budget.is_active,
        "created_at": iso(budget.created_at),
        "updated_at": iso(budget.updated_at),
    }


def _covers(budget: Budget, component: str) -> bool:
    return budget.scope.components is None or budget.scope.components.match(component) is not None


def budget_named(services: Services, path: Mapping[str, str]) -> Budget:
    """Return the budget of the path. Raises NotFound."""
    budget = services.book.get(path["budget_id"])
    if budget is None:
        raise NotFound("There is no budget with this id.")
    return budget


async def list_budgets(call: Call[BudgetsQuery, Nothing]) -> dict[str, Any]:
    """List budgets, oldest first."""
    query = call.query
    found = [
        budget
        for budget in call.services.book
        if (query.is_active is None or budget.is_active == query.is_active)
        and (query.owner is None or budget.spec.owner == query.owner)
        and (query.component is None or _covers(budget, query.component))
    ]
    first = (query.page - 1) * query.limit
    return {
        "items": [budget_json(budget) for budget in found[first : first + query.limit]],
        "total": len(found),
        "page": query.page,
        "limit": query.limit,
    }


async def create_budget(call: Call[Nothing, BudgetBody]) -> dict[str, Any]:
    """Create a budget."""
    now = call.services.clock.now()
    budget = budget_of(call.body.spec, budget_id=new_id("b"), created_at=now, updated_at=now)
    await call.services.unbroken(_create(call.services, budget))
    return {**budget_json(budget), "warnings": await warnings_of(call.services, budget)}


async def get_budget(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show a budget."""
    return budget_json(budget_named(call.services, call.path))


async def change_budget(call: Call[Nothing, BaseModel]) -> dict[str, Any]:
    """Change what is named of a budget."""
    changes = {name: getattr(call.body, name) for name in call.body.model_fields_set}
    budget = await call.services.unbroken(_change(call.services, call.path, changes))
    return {**budget_json(budget), "warnings": await warnings_of(call.services, budget)}


async def deactivate_budget(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Deactivate a budget; its records stay."""
    budget = await call.services.unbroken(_change(call.services, call.path, {"is_active": False}))
    return {**budget_json(budget), "message": "The budget is inactive; its records stay."}


async def _create(services: Services, budget: Budget) -> None:
    async with services.budget_edits:
        if sum(1 for _ in services.book) >= BUDGETS_MAX:
            raise Conflict(f"There are {BUDGETS_MAX} budgets; no more are kept.")
        await services.ledger.save_budget(budget, {"actor": ACTOR, "action": "create"})
        in_force(services, budget)


async def _change(services: Services, path: Mapping[str, str], changes: Mapping[str, Any]) -> Budget:
    async with services.budget_edits:
        before = budget_named(services, path)
        after = changed(before, changes, services.clock.now())
        if after == before:
            return before
        action = "update" if after.is_active == before.is_active else ("activate" if after.is_active else "deactivate")
        audit = {"actor": ACTOR, "action": action}
        if after.calendar == before.calendar:
            await services.ledger.save_budget(after, audit)
        else:
            await move_windows(services, before, after, audit)
        in_force(services, after)
        services.alerts.changed(before, after)
        await lapse(services, before, after, ACTOR)
        return after


def in_force(services: Services, budget: Budget) -> None:
    """Let verdicts and whoever listens have what the ledger has just acknowledged."""
    services.book.put(budget)
    services.announcer.touched([budget.budget_id])


def changed(before: Budget, changes: Mapping[str, Any], now: datetime) -> Budget:
    """
    Return the budget with the changes in; equal to ``before`` where they change nothing.

    Raises SchemaViolation, InvalidRequest, and Conflict where the changes were made to another version.
    """
    shown = budget_json(before)
    for name in ("budget_id", "created_at", "updated_at"):
        if changes.get(name) is not None and changes[name] != shown[name]:
            if name == "updated_at":
                raise Conflict("The budget has been changed since; read it again.", detail={"budget": shown})
            raise wrong_field(name, "cannot be changed")
    edits = {
        name: value.model_dump() if isinstance(value, BaseModel) else value
        for name, value in changes.items()
        if name in BudgetSpec.model_fields
    }
    try:
        spec = BudgetSpec.model_validate({**before.spec.model_dump(), **edits})
    except ValidationError as error:
        raise violation(error, what="budget") from None
    is_active = before.is_active if changes.get("is_active") is None else changes["is_active"]
    if spec == before.spec and is_active == before.is_active:
        return before
    after = budget_of(
        spec, budget_id=before.budget_id, created_at=before.created_at, updated_at=now, is_active=is_active
    )
    return replace(after, grants=before.grants, denials=before.denials)


_PATH = "/api/v1/budgets"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_budgets,
        tag="budgets",
        query=BudgetsQuery,
        response=Page[BudgetShown],
    ),
    Endpoint(
        method="POST",
        path=_PATH,
        handler=create_budget,
        tag="budgets",
        body=BudgetBody,
        response=BudgetSaid,
        status=201,
        errors=(Conflict, StoreUnavailable),
    ),
    Endpoint(
        method="GET",
        path=_PATH + "/{budget_id}",
        handler=get_budget,
        tag="budgets",
        response=BudgetShown,
    ),
    Endpoint(
        method="PUT",
        path=_PATH + "/{budget_id}",
        handler=change_budget,
        tag="budgets",
        body=BudgetChange,
        response=BudgetSaid,
        errors=(Conflict, StoreUnavailable, ArchiveUnavailable),
    ),
    Endpoint(
        method="DELETE",
        path=_PATH + "/{budget_id}",
        handler=deactivate_budget,
        tag="budgets",
        response=BudgetDeactivated,
        errors=(StoreUnavailable,),
    ),
)
