"""
Find what of a budget has no effect.

Its one job: limits of which another one is always reached first, of the budget or of one that covers all of it, and
refusing without a limit. Rule: only what arithmetic says; a budget that is merely unusual is nobody's business.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from penia_proxy.budget.budget import PERIODS, Budget
from penia_proxy.budget.globs import includes
from penia_proxy.budget.money import usd_text
from penia_proxy.config import Period

MOST: Mapping[tuple[Period, Period], tuple[int, str]] = {
    ("hourly", "daily"): (25, "hours"),
    ("hourly", "weekly"): (7 * 24 + 1, "hours"),
    ("hourly", "monthly"): (31 * 24 + 1, "hours"),
    ("daily", "weekly"): (7, "days"),
    ("daily", "monthly"): (31, "days"),
    ("weekly", "monthly"): (6, "weeks"),
}
"""How many windows of a period a window of another can touch at most: clocks go back once, and months begin midweek."""


def contradictions(budget: Budget) -> Iterator[tuple[str, str]]:
    """Yield field and sentence of each limit that another one of the budget makes needless."""
    limits = budget.limits
    if budget.blocks and not limits:
        yield "enforcement", f"The enforcement is {budget.spec.enforcement}, and there is no limit to be exceeded."
    if budget.refuses:
        for period, limit in limits.items():
            if limit == 0:
                yield f"{period}_limit", f"A {period} limit of 0 refuses every call that costs anything."
    for short, long in combinations((period for period in PERIODS if period in limits), 2):
        if limits[short] > limits[long]:
            larger = f"The {short} limit of ${usd_text(limits[short])} is larger than the {long} one of"
            yield f"{short}_limit", f"{larger} ${usd_text(limits[long])}, which is reached first."
        elif (short, long) in MOST:
            number, windows = MOST[short, long]
            most = number * limits[short]
            if 0 < most < limits[long]:
                when = "can never be reached" if budget.refuses else f"is not reached where the {short} one is kept"
                why = f"at most {number} {windows} of ${usd_text(limits[short])} make ${usd_text(most)}"
                yield f"{long}_limit", f"The {long} limit of ${usd_text(limits[long])} {when}: {why}."


def unreachable(budget: Budget, others: Iterable[Budget]) -> Iterator[tuple[str, str]]:
    """Yield field and sentence of each limit before which a budget that covers all the same calls refuses them."""
    covering = [
        other
        for other in others
        if other.budget_id != budget.budget_id
        and other.is_active
        and other.refuses
        and includes(other.spec.scope, budget.spec.scope)
    ]
    for period, limit in budget.limits.items():
        lower = [other for other in covering if _is_before(other, budget, period)]
        if lower:
            first = min(lower, key=lambda other: other.limits[period])
            why = f"the budget '{first.name}' covers all of these calls, and refuses at"
            never = f"The {period} limit of ${usd_text(limit)} can never be reached"
            yield f"{period}_limit", f"{never}: {why} ${usd_text(first.limits[period])}."


def _is_before(other: Budget, budget: Budget, period: Period) -> bool:
    """Whether a window of the other budget is always used up before one of this budget."""
    if period not in other.limits or other.limits[period] >= budget.limits[period]:
        return False
    if period == "total":
        return other.created_at <= budget.created_at  # a younger one has counted less
    return other.calendar == budget.calendar
