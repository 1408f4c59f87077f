"""
Say what a budget is.

Its one job: the budget as the rules of money use it (nano-dollars, compiled scope, calendar), made from the spec that
people write.
Rule: immutable; changing a budget makes a new value with the same id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from penia_proxy.budget.money import nanos_of_usd
from penia_proxy.budget.scope import Scope
from penia_proxy.budget.windows import Calendar
from penia_proxy.config import BudgetSpec, Overrun, Period, Unpriced

PERIODS: tuple[Period, ...] = ("hourly", "daily", "weekly", "monthly", "total")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits per period over a scope, with an enforcement. Made by `budget_of`."""

    budget_id: str
    spec: BudgetSpec
    scope: Scope
    calendar: Calendar
    limits: Mapping[Period, int]
    """Nano-dollars, for the limited periods only."""
    unpriced: Unpriced
    warn_at: float
    is_active: bool
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def blocks(self) -> bool:
        """Whether this budget's verdict is to refuse; a shadow budget only says that it would."""
        return self.spec.enforcement == "block"

    @property
    def overrun(self) -> Overrun:
        """How much is held. Only what refuses calls may cut them off; anything else lets them finish."""
        return "finish" if self.spec.overrun == "truncate" and not self.refuses else self.spec.overrun

    @property
    def refuses(self) -> bool:
        """Whether this budget really refuses calls."""
        return self.blocks and not self.spec.shadow


def budget_of(
    spec: BudgetSpec,
    *,
    budget_id: str,
    created_at: datetime,
    updated_at: datetime,
    is_active: bool = True,
) -> Budget:
    """
    Compile a spec.

    Raises InvalidRequest where the spec names what does not exist (a time zone) or is not built yet.
    """
    limits: dict[Period, int] = {}
    for period in PERIODS:
        limit = getattr(spec, f"{period}_limit")
        if limit is not None:
            limits[period] = nanos_of_usd(limit)
    return Budget(
        budget_id=budget_id,
        spec=spec,
        scope=Scope.of(spec.scope),
        calendar=Calendar.of(spec.timezone, spec.week_start, spec.month_start_day),
        limits=limits,
        unpriced=spec.unpriced or ("block" if spec.enforcement == "block" else "warn"),
        warn_at=spec.warn_at,
        is_active=is_active,
        created_at=created_at,
        updated_at=updated_at,
    )
