"""
Keep what people rule, and what was refused.

Its one job: grants, requests for approval and refusals, written and read.
Rules: a ruling and its line in the audit log are one transaction. How often a request's calls were refused is written
without touching what was decided of it. Lists are newest first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import ColumnElement, RowMapping, Select, Table, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.grants import Approval, ApprovalState, Denial, Grant
from penia_proxy.budget.words import Refusal
from penia_proxy.clock import from_iso, iso
from penia_proxy.errors import Conflict
from penia_proxy.ledger import statements as sql
from penia_proxy.ledger.moves import Hurry
from penia_proxy.ledger.rows import json_text
from penia_proxy.ledger.schema import approvals, grants, refusals
from penia_proxy.ledger.transaction import Transaction

MATTERS = timedelta(days=40)
"""A ruling that is older is of a window that is over, unless the window never ends."""

REFUSALS_MAX = 100_000
REFUSALS_AGE = timedelta(days=30)

_COUNTED = ("amount_nanos", "refused_calls", "last_refused_at")

_DECIDED = ("state", "decided_at", "reason")

INSERT_GRANT = sql.text_of(sql.insert_into(grants))
SAVE_APPROVAL = sql.text_of(
    (statement := sql.insert_into(approvals)).on_conflict_do_update(
        index_elements=["approval_id"], set_={name: statement.excluded[name] for name in _COUNTED}
    )
)
DECIDE = sql.text_of(
    update(approvals)
    .where(approvals.c.approval_id == bindparam("its_id"), approvals.c.state == bindparam("state_before"))
    .values({name: bindparam(name) for name in _DECIDED})
)
INSERT_REFUSAL = sql.text_of(sql.insert_into(refusals, "seq"))
FORGET_REFUSALS = sql.text_of(
    delete(refusals).where(
        (refusals.c.seq <= select(func.max(refusals.c.seq)).scalar_subquery() - bindparam("most"))
        | (refusals.c.at < bindparam("before"))
    )
)


@dataclass(frozen=True, slots=True)
class Give:
    """Top a window of a budget up."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    grant: Grant
    actor: str

    def apply(self, to: Transaction) -> None:
        to.execute(INSERT_GRANT, _grant_row(self.grant))
        to.execute(sql.INSERT_AUDIT, _audit_row(self.grant, self.actor))


@dataclass(frozen=True, slots=True)
class SaveApproval:
    """Write a request down, or how often it was made since."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    approval: Approval

    def apply(self, to: Transaction) -> None:
        to.execute(SAVE_APPROVAL, _approval_row(self.approval))


@dataclass(frozen=True, slots=True)
class Decide:
    """Answer a request, with a grant or without. Raises Conflict for one that is answered."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    approval: Approval
    grant: Grant | None
    actor: str

    def apply(self, to: Transaction) -> None:
        row = _approval_row(self.approval)
        if not to.execute(DECIDE, {"its_id": self.approval.approval_id, "state_before": "pending", **_decision(row)}):
            raise Conflict("This request was answered before.")
        if self.grant is not None:
            to.execute(INSERT_GRANT, _grant_row(self.grant))
        action = {"approved": "approve", "denied": "deny"}[self.approval.state]
        details = {**row, "grant": self.grant and _grant_row(self.grant)}
        to.execute(sql.INSERT_AUDIT, _decision_row(action, self.approval, self.actor, details))


@dataclass(frozen=True, slots=True)
class Lapse:
    """Close a request that nobody need answer any more, unless it is answered."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    approval: Approval
    actor: str

    def apply(self, to: Transaction) -> None:
        row = _approval_row(self.approval)
        if to.execute(DECIDE, {"its_id": self.approval.approval_id, "state_before": "pending", **_decision(row)}):
            to.execute(sql.INSERT_AUDIT, _decision_row("lapse", self.approval, self.actor, row))


@dataclass(frozen=True, slots=True)
class KeepRefusal:
    """Write a refusal down."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.NONE
    refusal: Refusal

    def apply(self, to: Transaction) -> None:
        refusal = self.refusal
        row = {name: getattr(refusal, name) for name in Refusal.__dataclass_fields__}
        to.execute(INSERT_REFUSAL, {**row, "at": iso(refusal.at)})


@dataclass(frozen=True, slots=True)
class ForgetRefusals:
    """Drop what is too old, or too much."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.NONE
    at: datetime

    def apply(self, to: Transaction) -> None:
        to.execute(FORGET_REFUSALS, {"most": REFUSALS_MAX, "before": iso(self.at - REFUSALS_AGE)})


class Listed(NamedTuple):
    """One page, and how many there are in all."""

    items: list[Any]
    total: int


class Rulings:
    """The reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def in_force(self, now: datetime) -> dict[str, tuple[list[Grant], list[Denial]]]:
        """Return by budget the grants and the denials whose windows may not be over."""
        since = iso(now - MATTERS)
        given = select(grants).where((grants.c.period == "total") | (grants.c.granted_at >= since))
        denied = select(approvals).where(
            approvals.c.state == "denied", (approvals.c.period == "total") | (approvals.c.decided_at >= since)
        )
        found: dict[str, tuple[list[Grant], list[Denial]]] = {}
        for row in await self._rows(given.order_by(grants.c.granted_at)):
            found.setdefault(row["budget_id"], ([], []))[0].append(_grant(row))
        for row in await self._rows(denied):
            denial = Denial(row["period"], from_iso(row["decided_at"]))
            found.setdefault(row["budget_id"], ([], []))[1].append(denial)
        return found

    async def pending(self, now: datetime) -> list[Approval]:
        """Return the requests that can still be answered."""
        return [_approval(row) for row in await self._rows(select(approvals).where(_in_state("pending", now)))]

    async def grants(self, budget_id: str, *, page: int, limit: int) -> Listed:
        """Return a budget's grants."""
        asked = select(grants).where(grants.c.budget_id == budget_id)
        rows, total = await self._page(asked, (grants.c.granted_at.desc(), grants.c.grant_id), page, limit)
        return Listed([_grant(row) for row in rows], total)

    async def grant(self, grant_id: str) -> Grant | None:
        """Return one grant."""
        rows = await self._rows(select(grants).where(grants.c.grant_id == grant_id))
        return _grant(rows[0]) if rows else None

    async def approvals(self, state: ApprovalState | None, now: datetime, *, page: int, limit: int) -> Listed:
        """Return requests for approval."""
        asked = select(approvals)
        if state is not None:
            asked = asked.where(_in_state(state, now))
        order = (approvals.c.asked_at.desc(), approvals.c.approval_id)
        rows, total = await self._page(asked, order, page, limit)
        return Listed([_approval(row) for row in rows], total)

    async def approval(self, approval_id: str) -> Approval | None:
        """Return one request."""
        rows = await self._rows(select(approvals).where(approvals.c.approval_id == approval_id))
        return _approval(rows[0]) if rows else None

    async def refusals(self, filters: Mapping[str, str | None], *, page: int, limit: int) -> Listed:
        """Return refusals; the filters are columns."""
        asked = select(refusals).where(
            *(refusals.c[name] == value for name, value in filters.items() if value is not None)
        )
        rows, total = await self._page(asked, (refusals.c.seq.desc(),), page, limit)
        return Listed([_refusal(row) for row in rows], total)

    async def refusal(self, request_id: str) -> Refusal | None:
        """Return the newest refusal of a request id."""
        asked = select(refusals).where(refusals.c.request_id == request_id).order_by(refusals.c.seq.desc()).limit(1)
        rows = await self._rows(asked)
        return _refusal(rows[0]) if rows else None

    async def _rows(self, statement: Select[Any]) -> list[RowMapping]:
        async with self._engine.connect() as connection:
            return list((await connection.execute(statement)).mappings())

    async def _page(
        self, asked: Select[Any], order: tuple[ColumnElement[Any], ...], page: int, limit: int
    ) -> tuple[list[RowMapping], int]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(asked.order_by(*order).offset((page - 1) * limit).limit(limit))
            total = await connection.scalar(select(func.count()).select_from(asked.subquery()))
            return list(rows.mappings()), total or 0


def _in_state(state: ApprovalState, now: datetime) -> ColumnElement[bool]:
    is_over = approvals.c.window_end.is_not(None) & (approvals.c.window_end <= iso(now))
    if state == "lapsed":
        return (approvals.c.state == "lapsed") | (approvals.c.state == "pending") & is_over
    if state == "pending":
        return (approvals.c.state == "pending") & ~is_over
    return approvals.c.state == state


def _grant_row(grant: Grant) -> dict[str, Any]:
    return _row(grant, grants)


def _approval_row(approval: Approval) -> dict[str, Any]:
    return _row(approval, approvals)


def _row(value: object, table: Table) -> dict[str, Any]:
    # A column's name is a kind of str that orjson takes for no key.
    row = {str(column.name): getattr(value, column.name) for column in table.columns}
    return {name: iso(said) if isinstance(said, datetime) else said for name, said in row.items()}


_INSTANTS = frozenset(
    {"granted_at", "expires_at", "window_start", "window_end", "asked_at", "last_refused_at", "decided_at", "at"}
)


def _values(row: RowMapping) -> dict[str, Any]:
    return {name: from_iso(value) if name in _INSTANTS and value is not None else value for name, value in row.items()}


def _grant(row: RowMapping) -> Grant:
    return Grant(**_values(row))


def _approval(row: RowMapping) -> Approval:
    return Approval(**_values(row))


def _refusal(row: RowMapping) -> Refusal:
    return Refusal(**{name: value for name, value in _values(row).items() if name != "seq"})


def _decision(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _DECIDED}


def _decision_row(action: str, approval: Approval, actor: str, details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": approval.decided_at and iso(approval.decided_at),
        "actor": actor,
        "action": action,
        "subject": approval.budget_id,
        "details": json_text(details),
    }


def _audit_row(grant: Grant, actor: str) -> dict[str, Any]:
    return {
        "at": iso(grant.granted_at),
        "actor": actor,
        "action": "grant",
        "subject": grant.budget_id,
        "details": json_text(_grant_row(grant)),
    }
