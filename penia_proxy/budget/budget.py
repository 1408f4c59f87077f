"""
Say what a budget is.

Its one job: the budget as the rules of money use it (nano-dollars, compiled scope, calendar), made from the spec that
people write.
Rules: immutable; changing a budget makes a new value with the same id. What a window may spend at an
instant is said by `Budget.limits_at` and nobody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from penia_proxy.budget.grants import Denial, Grant, is_within
from penia_proxy.budget.money import nanos_of_usd
from penia_proxy.budget.scope import Scope
from penia_proxy.budget.windows import Calendar
from penia_proxy.config import BudgetSpec, Overrun, Period, Unpriced

PERIODS: tuple[Period, ...] = ("hourly", "daily", "weekly", "monthly", "total")

SET_BACK_MAX = timedelta(days=3)
"""How long rulings of a window that is over are kept: a clock that is corrected may be in that window again."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits per period over a scope, with an enforcement. Made by `budget_of`."""

    budget_id: str
    spec: BudgetSpec
    scope: Scope
    calendar: Calendar
    limits: Mapping[Period, int]
    """Nano-dollars, for the limited periods only; what was granted is not in them: see `limits_at`."""
    unpriced: Unpriced
    warn_at: float
    is_active: bool
    created_at: datetime
    updated_at: datetime
    grants: tuple[Grant, ...] = ()
    denials: tuple[Denial, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def blocks(self) -> bool:
        """Whether this budget's verdict is to refuse; a shadow budget only says that it would."""
        return self.spec.enforcement in ("block", "approve")

    @property
    def overrun(self) -> Overrun:
        """How much is held. Only what refuses calls may cut them off; anything else lets them finish."""
        return "finish" if self.spec.overrun == "truncate" and not self.refuses else self.spec.overrun

    @property
    def refuses(self) -> bool:
        """Whether this budget really refuses calls."""
        return self.blocks and not self.spec.shadow

    def limits_at(self, at: datetime) -> Mapping[Period, int]:
        """Return the limits of the windows that contain an instant: the budget's own, and what was granted to them."""
        if not self.grants:
            return self.limits
        limits = dict(self.limits)
        for grant in self.grants:
            if grant.period in limits and grant.counts(self.calendar, at):
                limits[grant.period] += grant.amount_nanos
        return limits

    def denies(self, period: Period, at: datetime) -> bool:
        """Whether more was denied to the window that contains an instant, and nothing was granted to it since."""
        denied = [one.denied_at for one in self._rulings_within(at)[1] if one.period == period]
        return bool(denied) and not any(
            grant.period == period and grant.granted_at >= max(denied) for grant in self._rulings_within(at)[0]
        )

    def ruled(self, ruling: Grant | Denial, at: datetime) -> "Budget":
        """Return the budget with one more grant or denial, and without those whose windows are long over."""
        grants = tuple(one for one in self.grants if self._may_count(one.granted_at, one.period, at))
        denials = tuple(one for one in self.denials if self._may_count(one.denied_at, one.period, at))
        if isinstance(ruling, Grant):
            return replace(self, grants=(*grants, ruling), denials=denials)
        return replace(self, grants=grants, denials=(*denials, ruling))

    def _may_count(self, ruled_at: datetime, period: Period, at: datetime) -> bool:
        end = self.calendar.window(period, ruled_at).end
        return end is None or end > at - SET_BACK_MAX

    def grants_within(self, at: datetime) -> tuple[Grant, ...]:
        """Return the grants of the windows that contain an instant, expired ones included."""
        return self._rulings_within(at)[0]

    def _rulings_within(self, at: datetime) -> tuple[tuple[Grant, ...], tuple[Denial, ...]]:
        return (
            tuple(one for one in self.grants if is_within(one.granted_at, one.period, self.calendar, at)),
            tuple(one for one in self.denials if is_within(one.denied_at, one.period, self.calendar, at)),
        )


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
        unpriced=spec.unpriced or ("block" if spec.enforcement in ("block", "approve") else "warn"),
        warn_at=spec.warn_at,
        is_active=is_active,
        created_at=created_at,
        updated_at=updated_at,
    )
