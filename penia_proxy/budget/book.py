"""
Know the budgets in force.

Its one job: every budget by id, and the active ones that cover a call.
Rule: changed in the same step as the ledger's acknowledged write, never on a timer: nothing with a lifetime feeds a
verdict.
"""

from collections.abc import Iterable, Iterator

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.scope import Facts


class BudgetBook:
    """All budgets of this gateway."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._budgets = {budget.budget_id: budget for budget in budgets}
        self._active: tuple[Budget, ...] = ()
        self._sort()

    def __iter__(self) -> Iterator[Budget]:
        """Yield every budget, oldest first, inactive ones included."""
        return iter(self._budgets.values())

    def get(self, budget_id: str) -> Budget | None:
        """Return the budget, active or not."""
        return self._budgets.get(budget_id)

    @property
    def active(self) -> tuple[Budget, ...]:
        """The active budgets, most specific first."""
        return self._active

    def put(self, budget: Budget) -> None:
        """Add a budget or replace the one with its id."""
        self._budgets[budget.budget_id] = budget
        self._sort()

    def covering(self, facts: Facts) -> tuple[Budget, ...]:
        """Return the active budgets that apply to a call, most specific first."""
        return tuple(budget for budget in self._active if budget.scope.covers(facts))

    def _sort(self) -> None:
        active = [budget for budget in self._budgets.values() if budget.is_active]
        active.sort(key=lambda budget: (-budget.scope.specificity, budget.created_at, budget.budget_id))
        self._active = tuple(active)
