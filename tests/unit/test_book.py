"""Which budgets cover a call."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.budget.scope import Facts
from penia_proxy.config import BudgetSpec, ScopeSpec

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = st.sampled_from(["a", "b", "ab", "a*", "?", "[ab]"])
SCOPES = st.builds(
    ScopeSpec,
    components=st.lists(NAMES, max_size=2).map(tuple),
    providers=st.lists(NAMES, max_size=1).map(tuple),
    models=st.lists(NAMES, max_size=2).map(tuple),
    tags=st.dictionaries(st.sampled_from(["t", "u"]), NAMES, max_size=2),
)
PLAIN = st.sampled_from(["a", "b", "ab", "c"])
FACTS = st.builds(Facts, PLAIN, PLAIN, PLAIN, st.dictionaries(st.sampled_from(["t", "u"]), PLAIN))


def budget(number: int, scope: ScopeSpec, *, is_active: bool = True) -> Budget:
    spec = BudgetSpec(name=f"b{number}", daily_limit=1.0, scope=scope)
    at = AT + timedelta(seconds=number % 3)
    return budget_of(spec, budget_id=f"b_{number}", created_at=at, updated_at=at, is_active=is_active)


@given(st.lists(SCOPES, max_size=8), FACTS)
def test_looking_up_finds_what_looking_at_each_does(scopes: list[ScopeSpec], facts: Facts) -> None:
    """Whatever names and globs scopes have, the budgets found are those that cover the call, in the same order."""
    book = BudgetBook([budget(number, scope) for number, scope in enumerate(scopes)])

    expected = [one for one in book.active if one.scope.covers(facts)]
    assert list(book.covering(facts)) == expected
    assert sorted(one.scope.specificity for one in expected)[::-1] == [one.scope.specificity for one in expected]


def test_a_change_is_seen_by_the_next_call() -> None:
    """A budget that is added, moved to another component or switched off covers what it now says."""
    book, facts = BudgetBook(), Facts("a", "p", "m", {})
    seen = []
    for changed in (
        budget(1, ScopeSpec(components=("a",))),
        budget(1, ScopeSpec(components=("b",))),
        budget(1, ScopeSpec()),
        budget(1, ScopeSpec(), is_active=False),
    ):
        book.put(changed)
        seen.append(len(book.covering(facts)))

    assert seen == [1, 0, 1, 0]
