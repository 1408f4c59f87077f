"""
Know the budgets in force.

Its one job: every budget by id, and the active ones that cover a call.
Rules: changed in the same step as the ledger's acknowledged write, never on a timer: nothing with a lifetime feeds a
verdict. Finding what covers a call costs by what may cover it, not by how many budgets there are: a budget whose scope
names components, models, providers or a tag in full is looked up by one of these names.
"""

from collections.abc import Iterable, Iterator

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.scope import Facts

Name = tuple[str, str]
"""A kind of fact and its value."""


class BudgetBook:
    """All budgets of this gateway."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._budgets = {budget.budget_id: budget for budget in budgets}
        self._active: tuple[Budget, ...] = ()
        self._anywhere: list[tuple[int, Budget]] = []
        """Active budgets that no name finds, each with its place in the order."""
        self._named: dict[Name, list[tuple[int, Budget]]] = {}
        self._is_sorted = False

    def __iter__(self) -> Iterator[Budget]:
        """Yield every budget, oldest first, inactive ones included."""
        return iter(self._budgets.values())

    def get(self, budget_id: str) -> Budget | None:
        """Return the budget, active or not."""
        return self._budgets.get(budget_id)

    @property
    def active(self) -> tuple[Budget, ...]:
        """The active budgets, most specific first."""
        self._sort()
        return self._active

    def put(self, budget: Budget) -> None:
        """Add a budget or replace the one with its id."""
        self._budgets[budget.budget_id] = budget
        self._is_sorted = False

    def covering(self, facts: Facts) -> tuple[Budget, ...]:
        """Return the active budgets that apply to a call, most specific first."""
        self._sort()
        found = self._anywhere
        if self._named:
            found = [*found]
            for name in _names(facts):
                found += self._named.get(name, ())
            found.sort(key=lambda placed: placed[0])
        return tuple([budget for _, budget in found if budget.scope.covers(facts)])

    def _sort(self) -> None:
        """Put budgets where calls find them, once for any number that changed."""
        if self._is_sorted:
            return
        self._is_sorted = True
        active = [budget for budget in self._budgets.values() if budget.is_active]
        active.sort(key=lambda budget: (-budget.scope.specificity, budget.created_at, budget.budget_id))
        self._active = tuple(active)
        self._anywhere, self._named = [], {}
        for placed in enumerate(active):
            names = _names_of(placed[1])
            for name in names:
                self._named.setdefault(name, []).append(placed)
            if not names:
                self._anywhere.append(placed)


def _names(facts: Facts) -> Iterator[Name]:
    yield "component", facts.component
    yield "model", facts.model
    yield "provider", facts.provider
    for tag, value in facts.tags.items():
        yield f"tag {tag}", value


def _names_of(budget: Budget) -> set[Name]:
    """Return names of which a call that the budget covers has exactly one; none where its scope has only globs."""
    scope = budget.spec.scope
    kinds = [("component", scope.components), ("model", scope.models), ("provider", scope.providers)]
    kinds += [(f"tag {tag}", (value,)) for tag, value in scope.tags.items()]
    for kind, globs in kinds:
        if globs and not any(set(glob) & set("*?[") for glob in globs):
            return {(kind, name) for name in globs}
    return set()
