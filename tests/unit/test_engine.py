"""Verdicts follow from the figures, and from nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.budget.engine import Ask, Engine, Verdict
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.usage import Usage
from penia_proxy.budget.windows import WindowKey
from penia_proxy.config import BudgetSpec
from penia_proxy.counters.memory import MemoryCounters

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
FACTS = Facts("rhetor", "openai", "gpt-4o", {})
USD = 1_000_000_000


def budget(**spec: Any) -> Budget:
    spec = {"name": "b", "daily_limit": 1.0, "enforcement": "block", **spec}
    return budget_of(BudgetSpec(**spec), budget_id=f"b_{spec['name']}", created_at=AT, updated_at=AT)


def engine(*budgets: Budget) -> tuple[Engine, MemoryCounters]:
    counters = MemoryCounters()
    return Engine(BudgetBook(budgets), counters), counters


def record(verdict: Verdict, cost: int | None, at: datetime = AT) -> UsageRecord:
    return UsageRecord(
        record_id="r",
        timestamp=at,
        component="rhetor",
        provider="openai",
        model="gpt-4o",
        usage=Usage(input=3, output=2),
        cost_basis="unpriced" if cost is None else "reported",
        cost_nanos=cost,
        input_cost_nanos=None,
        budget_ids=verdict.budget_ids,
    )


def ask(usd: float) -> Ask:
    return Ask(int(usd * USD), int(usd * USD))


async def held(counters: MemoryCounters, of: Budget, at: datetime = AT) -> list[int]:
    windows = of.calendar.windows(at)
    keys = [WindowKey(of.budget_id, window.period, window.start) for window in windows]
    return [tally.held_nanos for tally in await counters.read(keys)]


async def test_the_limit_itself_fits_and_a_nano_more_does_not() -> None:
    """More than the limit is refused (spent + held + this call > limit); equal is not."""
    guard, _ = engine(budget())

    assert (await guard.reserve(FACTS, ask(1.0), AT)).kind == "warn"
    refused = await guard.reserve(FACTS, Ask(1, 1), AT)
    assert (refused.kind, refused.code) == ("block", "budget_busy")


async def test_busy_and_exceeded_are_told_apart() -> None:
    """Busy fits once calls in flight settle; exceeded does not, so waiting does not help."""
    guard, counters = engine(budget())
    first = await guard.reserve(FACTS, ask(0.6), AT)

    assert (await guard.reserve(FACTS, ask(0.6), AT)).code == "budget_busy"
    assert (await guard.reserve(FACTS, ask(1.1), AT)).code == "budget_exceeded"
    await counters.settle(first.legs, record(first, int(0.6 * USD)))
    assert (await guard.reserve(FACTS, ask(0.6), AT)).code == "budget_exceeded"
    assert (await guard.reserve(FACTS, ask(0.4), AT)).kind == "warn"


async def test_one_refusal_holds_nothing_anywhere() -> None:
    """All windows of all budgets, or none."""
    wide, tight = budget(name="wide", daily_limit=100), budget(name="tight", daily_limit=0.1)
    guard, counters = engine(wide, tight)

    verdict = await guard.reserve(FACTS, ask(0.5), AT)

    assert verdict.kind == "block"
    assert await held(counters, wide) == [0] * 5
    assert await held(counters, tight) == [0] * 5


async def test_every_period_counts_whichever_is_limited() -> None:
    """A limit added in the middle of a month must see the month."""
    only = budget()
    guard, counters = engine(only)

    await guard.reserve(FACTS, ask(0.25), AT)

    assert await held(counters, only) == [USD // 4] * 5


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"enforcement": "track"}, "allow"),
        ({"enforcement": "warn"}, "warn"),
        ({"enforcement": "block"}, "block"),
        ({"enforcement": "block", "shadow": True}, "warn"),
    ],
)
async def test_enforcement_decides_what_an_overrun_means(spec: dict[str, Any], kind: str) -> None:
    """Counted only, forwarded with a warning, refused, or only said to have been refused."""
    guard, _ = engine(budget(**spec))

    assert (await guard.reserve(FACTS, ask(2.0), AT)).kind == kind


async def test_warn_at_is_a_share_of_the_limit() -> None:
    """Below it nothing is said; at it a warning is."""
    guard, _ = engine(budget(warn_at=0.5))

    assert (await guard.check(FACTS, expected_nanos=USD // 2 - 1, most_nanos=USD // 2 - 1, at=AT)).kind == "allow"
    assert (await guard.check(FACTS, expected_nanos=USD // 2, most_nanos=USD // 2, at=AT)).kind == "warn"


async def test_a_limit_of_zero_passes_only_what_is_free() -> None:
    """Nothing may be spent; a free model still answers."""
    guard, _ = engine(budget(daily_limit=0))

    assert (await guard.reserve(FACTS, Ask(0, 0), AT)).kind == "allow"
    assert (await guard.reserve(FACTS, Ask(1, 1), AT)).kind == "block"


async def test_never_holds_the_bound_and_finish_the_expectation() -> None:
    """Each budget by its own rule; the call's amount is the largest."""
    strict, easy = budget(name="strict", overrun="never"), budget(name="easy", overrun="finish")
    guard, counters = engine(strict, easy)

    verdict = await guard.reserve(FACTS, Ask(USD // 10, USD // 2), AT)

    assert (await held(counters, strict))[1] == USD // 2
    assert (await held(counters, easy))[1] == USD // 10
    assert verdict.amount_nanos == USD // 2


async def test_truncate_holds_what_there_is_room_for() -> None:
    """From the least that is worth beginning with up to what is expected; with less room it refuses."""
    cut = budget(name="cut", overrun="truncate", daily_limit=1.0)
    guard, counters = engine(cut)
    ask = Ask(USD * 6 // 10, USD * 2, "", USD * 2 // 10)

    first, second = await guard.reserve(FACTS, ask, AT), await guard.reserve(FACTS, ask, AT)
    third = await guard.reserve(FACTS, ask, AT)

    assert [verdict.amount_nanos for verdict in (first, second)] == [USD * 6 // 10, USD * 4 // 10]
    assert (third.kind, third.code, third.amount_nanos) == ("block", "budget_busy", USD * 2 // 10)
    assert (await held(counters, cut))[1] == USD


async def test_truncate_holds_the_most_of_what_cannot_be_followed() -> None:
    """Or what there is room for, which its cap is then set to; without a bound it refuses."""
    guard, counters = engine(budget(overrun="truncate", daily_limit=1.0))

    whole = await guard.reserve(FACTS, Ask(USD // 10, USD * 3, "", USD // 20, grows=False), AT)
    await counters.release(whole.legs)
    unbounded = await guard.reserve(FACTS, Ask(USD // 10, None, "why", USD // 20, grows=False), AT)

    assert whole.amount_nanos == USD
    assert unbounded.code == "unbounded_call"


async def test_growing_holds_more_everywhere_or_nowhere() -> None:
    """A budget that lets calls finish always grows, one that truncates where it has room, one for the most never."""
    easy, cut = budget(name="easy", daily_limit=0.5), budget(name="cut", overrun="truncate", daily_limit=1.0)
    strict = budget(name="strict", overrun="never", daily_limit=5.0)
    guard, counters = engine(easy, cut, strict)
    verdict = await guard.reserve(FACTS, Ask(USD // 10, USD * 2, "", USD // 20), AT)

    grown = await guard.extend(verdict, USD * 9 // 10)
    assert grown is not None
    assert [(await held(counters, one))[1] for one in (easy, cut, strict)] == [USD * 9 // 10, USD * 9 // 10, USD * 2]

    assert await guard.extend(grown, USD * 11 // 10) is None
    assert [(await held(counters, one))[1] for one in (easy, cut, strict)] == [USD * 9 // 10, USD * 9 // 10, USD * 2]

    await counters.release(grown.legs)
    assert [(await held(counters, one))[1] for one in (easy, cut, strict)] == [0, 0, 0]


async def test_a_budget_that_only_warns_cuts_nothing_off() -> None:
    """Nor does a shadow: what they hold is what is expected, whatever the room."""
    for spec in ({"enforcement": "warn"}, {"shadow": True}):
        guard, _ = engine(budget(overrun="truncate", daily_limit=0.1, **spec))
        verdict = await guard.reserve(FACTS, Ask(USD, USD * 2, "", 1), AT)
        assert (verdict.kind, verdict.amount_nanos) == ("warn", USD)


async def test_a_call_without_a_bound_is_refused_under_never_only() -> None:
    """Elsewhere its expectation is held."""
    guard, _ = engine(budget(overrun="never"))
    verdict = await guard.reserve(FACTS, Ask(1, None, "it searches the web"), AT)
    assert (verdict.kind, verdict.code) == ("block", "unbounded_call")
    assert "it searches the web" in verdict.reason

    guard, _ = engine(budget(overrun="finish"))
    assert (await guard.reserve(FACTS, Ask(1, None, "it searches the web"), AT)).kind == "allow"


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"enforcement": "block"}, "block"),
        ({"enforcement": "warn"}, "warn"),
        ({"enforcement": "block", "unpriced": "allow"}, "allow"),
        ({"enforcement": "block", "unpriced": "warn"}, "warn"),
        ({"enforcement": "warn", "unpriced": "block"}, "block"),
        ({"enforcement": "block", "daily_limit": None}, "block"),
        ({"enforcement": "block", "unpriced": "block", "shadow": True}, "warn"),
    ],
)
async def test_a_missing_price_is_the_budgets_choice(spec: dict[str, Any], kind: str) -> None:
    """`block` by default where the budget blocks, `warn` otherwise; never a quiet zero."""
    guard, _ = engine(budget(**spec))

    assert (await guard.reserve(FACTS, Ask(None, None), AT)).kind == kind


async def test_only_budgets_in_scope_apply_most_specific_first() -> None:
    """Globs over component, provider, model and tags."""
    everything = budget(name="everything")
    agents = budget(name="agents", scope={"components": ["rhe*"], "models": ["gpt-4?"]})
    other = budget(name="other", scope={"components": ["apollo"]})
    tagged = budget(name="tagged", scope={"tags": {"team": "search*"}})
    guard, _ = engine(everything, agents, other, tagged)

    assert (await guard.reserve(FACTS, ask(0.1), AT)).budget_ids == ("b_agents", "b_everything")
    told = Facts("apollo", "openai", "gpt-4o", {"team": "search-eu"})
    assert set((await guard.reserve(told, ask(0.1), AT)).budget_ids) == {"b_other", "b_tagged", "b_everything"}


async def test_spend_belongs_to_the_window_of_admission() -> None:
    """A call that runs over midnight counts in the day it began."""
    only = budget()
    guard, counters = engine(only)
    before = datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)
    verdict = await guard.reserve(FACTS, ask(0.5), before)
    await counters.settle(verdict.legs, record(verdict, USD // 2, before))

    yesterday, today = (only.calendar.window("daily", at) for at in (before, before + timedelta(seconds=2)))
    keys = [WindowKey(only.budget_id, "daily", window.start) for window in (yesterday, today)]
    assert [tally.spent_nanos for tally in await counters.read(keys)] == [USD // 2, 0]


LIMIT = 1_000


class Moves(RuleBasedStateMachine):
    """Any order of moves on a blocking `never` budget, beside a model of one list of open holds."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = budget(daily_limit=LIMIT / USD, overrun="never")
        self.engine, self.counters = engine(self.budget)
        self.open: list[Verdict] = []
        self.spent = 0

    def run(self, step: Any) -> Any:
        try:
            step.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("a move waited: it is not one step")

    @rule(most=st.integers(0, LIMIT + 1))
    def reserve(self, most: int) -> None:
        verdict = self.run(self.engine.reserve(FACTS, Ask(most // 2, most), AT))
        fits = self.spent + sum(open_.amount_nanos for open_ in self.open) + most <= LIMIT
        assert (verdict.kind != "block") == fits
        if fits:
            self.open.append(verdict)

    @rule(which=st.integers(0, 100), share=st.floats(0, 1))
    def settle(self, which: int, share: float) -> None:
        if self.open:
            verdict = self.open.pop(which % len(self.open))
            cost = int(verdict.amount_nanos * share)
            self.spent += cost
            self.run(self.counters.settle(verdict.legs, record(verdict, cost)))

    @rule(which=st.integers(0, 100))
    def release(self, which: int) -> None:
        if self.open:
            verdict = self.open.pop(which % len(self.open))
            self.run(self.counters.release(verdict.legs))

    @invariant()
    def books_balance(self) -> None:
        window = self.budget.calendar.window("daily", AT)
        (tally,) = self.run(self.counters.read([WindowKey(self.budget.budget_id, "daily", window.start)]))
        assert tally.held_nanos == sum(verdict.amount_nanos for verdict in self.open)
        assert tally.spent_nanos == self.spent
        assert tally.spent_nanos + tally.held_nanos <= LIMIT


Moves.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestMoves = Moves.TestCase


@given(costs=st.lists(st.one_of(st.none(), st.integers(0, 10**12)), max_size=20))
async def test_tallies_sum_what_was_settled(costs: list[int | None]) -> None:
    """Money, tokens, calls, and calls without a price."""
    only = budget(enforcement="track")
    guard, counters = engine(only)
    for cost in costs:
        verdict = await guard.reserve(FACTS, Ask(5, 5), AT)
        await counters.settle(verdict.legs, record(verdict, cost))

    window = only.calendar.window("monthly", AT)
    (tally,) = await counters.read([WindowKey(only.budget_id, "monthly", window.start)])
    assert tally.spent_nanos == sum(cost or 0 for cost in costs)
    assert tally.request_count == len(costs)
    assert tally.unpriced_count == costs.count(None)
    assert (tally.input_tokens, tally.output_tokens) == (3 * len(costs), 2 * len(costs))
    assert tally.held_nanos == 0


@pytest.mark.parametrize("unpriced", ["warn", "allow"])
async def test_an_exhausted_limit_refuses_unpriced_calls_too(unpriced: str) -> None:
    """However the budget treats a missing price, what is used up is used up."""
    guard, counters = engine(budget(unpriced=unpriced))
    verdict = await guard.reserve(FACTS, ask(1.0), AT)
    await counters.settle(verdict.legs, record(verdict, USD + 1))

    refused = await guard.reserve(FACTS, Ask(None, None), AT)

    assert (refused.kind, refused.code) == ("block", "budget_exceeded")


async def test_calls_in_flight_are_counted_whatever_they_hold() -> None:
    """Also those of amount 0."""
    guard, counters = engine(budget(unpriced="allow"))
    held_none = await guard.reserve(FACTS, Ask(None, None), AT)
    assert await counters.in_flight("b_b") == 1
    await counters.release(held_none.legs)
    assert await counters.in_flight("b_b") == 0
