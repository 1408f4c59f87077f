"""How a budget stands, over HTTP and by arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.money import nanos_of_usd, usd
from penia_proxy.budget.windows import Window
from penia_proxy.watch.projections import Projections
from tests.api.client import Api, MovedClock

DAY = Window("daily", datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))


async def test_a_summary_has_every_figure(api: Api, clock: MovedClock) -> None:
    """An element has all members of api.md §2; the pace counts from the budget's making, at noon."""
    budget_id = await api.budget(daily_limit=5, weekly_limit=25)
    clock.move(timedelta(hours=6))
    await api.record(cost=2, input_tokens=30, output_tokens=12)

    daily, weekly = (await api.get(f"/budgets/{budget_id}/summary")).body

    assert daily == {
        "budget_id": budget_id,
        "name": "Default",
        "period": "daily",
        "spent": 2.0,
        "held": 0.0,
        "limit": 5.0,
        "granted": 0.0,
        "remaining": 3.0,
        "usage_percent": 40.0,
        "total_cost": 2.0,
        "cost_limit": 5.0,
        "remaining_cost": 3.0,
        "cost_usage_percentage": 0.4,
        "cost_limit_exceeded": False,
        "input_tokens": 30,
        "output_tokens": 12,
        "total_tokens_used": 42,
        "request_count": 1,
        "has_unpriced_usage": False,
        "projected": 4.0,
        "projected_low": 2.7184,
        "projected_high": 5.2816,
        "projected_early": False,
        "exhausted_at": None,
        "start_time": "2026-11-23T00:00:00.000000Z",
        "end_time": "2026-11-24T00:00:00.000000Z",
    }
    assert (weekly["period"], weekly["spent"]) == ("weekly", 2.0)


@pytest.mark.parametrize(
    ("limits", "asked", "periods"),
    [
        ({"hourly_limit": 1, "daily_limit": 1, "total_limit": 1}, {}, ["daily", "hourly", "total"]),
        ({"weekly_limit": 1, "monthly_limit": 1}, {}, ["weekly", "monthly"]),
        ({}, {}, ["daily"]),
        ({"daily_limit": 1, "weekly_limit": 1}, {"period": "weekly"}, ["weekly", "daily"]),
        ({"daily_limit": 1}, {"period": "monthly"}, ["monthly", "daily"]),
        ({}, {"period": "total"}, ["total"]),
    ],
)
async def test_the_period_asked_for_comes_first(
    api: Api, limits: dict[str, float], asked: dict[str, str], periods: list[str]
) -> None:
    """The asked period leads, limited or not, then the limited ones; daily leads where nothing is asked."""
    budget_id = await api.budget(**limits)

    summary = (await api.get(f"/budgets/{budget_id}/summary", **asked)).body

    assert [element["period"] for element in summary] == periods


async def test_a_period_without_limit_has_figures_without_a_share(api: Api) -> None:
    """No limit: spent is known; limit, remaining and shares are null, not 0."""
    budget_id = await api.budget()
    await api.record(cost=2)

    (total,) = (await api.get(f"/budgets/{budget_id}/summary", period="total")).body

    assert (total["spent"], total["request_count"]) == (2.0, 1)
    assert {total[name] for name in ("limit", "remaining", "usage_percent", "cost_limit", "projected")} == {None}
    assert (total["cost_limit_exceeded"], total["end_time"]) == (False, None)


async def test_an_unknown_period_is_refused(api: Api) -> None:
    """A period nobody has is a 400."""
    budget_id = await api.budget()

    answer = await api.get(f"/budgets/{budget_id}/summary", period="yearly")

    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_what_is_above_the_limit_is_said(api: Api, clock: MovedClock) -> None:
    """Beyond the limit, remaining is negative, the share above 100 %, and the limit was reached after the making."""
    budget_id = await api.budget(daily_limit=1)
    clock.move(timedelta(hours=6))
    await api.record(cost=3)

    (daily,) = (await api.get(f"/budgets/{budget_id}/summary")).body

    assert (daily["cost_limit_exceeded"], daily["remaining"], daily["usage_percent"]) == (True, -2.0, 300.0)
    assert daily["exhausted_at"] == "2026-11-23T14:00:00.000000Z"


async def test_unpriced_usage_is_said(api: Api) -> None:
    """Tokens without a price are counted, and the summary says that the money is not all there is."""
    budget_id = await api.budget(daily_limit=1)
    await api.record(model="nobody-knows-this", cost=None, input_tokens=7, output_tokens=0)

    (daily,) = (await api.get(f"/budgets/{budget_id}/summary")).body

    assert (daily["has_unpriced_usage"], daily["spent"], daily["input_tokens"]) == (True, 0.0, 7)


async def test_a_limit_of_nothing_is_used_up(api: Api) -> None:
    """A limit of 0 divides nothing: it is 100 % used and not exceeded."""
    budget_id = await api.budget(daily_limit=0)

    (daily,) = (await api.get(f"/budgets/{budget_id}/summary")).body

    assert (daily["usage_percent"], daily["cost_limit_exceeded"], daily["exhausted_at"]) == (100.0, False, None)


async def test_a_new_window_starts_at_nothing(api: Api, clock: MovedClock) -> None:
    """The day after, the day's figures are zero and the week's are not."""
    budget_id = await api.budget(daily_limit=5, weekly_limit=5)
    await api.record(cost=2)
    clock.move(timedelta(days=1))

    daily, weekly = (await api.get(f"/budgets/{budget_id}/summary")).body

    assert (daily["spent"], weekly["spent"]) == (0.0, 2.0)


async def test_days_that_are_told_of_later_change_what_is_expected(
    api: Api, services: Services, clock: MovedClock
) -> None:
    """Whoever imports last week's records need not wait an hour for a projection that knows them."""
    budget_id = await api.budget(weekly_limit=100)
    clock.move(timedelta(days=10))
    await api.record(cost=0.1, timestamp=(clock.now() - timedelta(hours=25)).isoformat())
    await api.get(f"/budgets/{budget_id}/summary")
    for days in range(2, 7):
        await api.record(cost=1, timestamp=(clock.now() - timedelta(days=days, hours=5)).isoformat())

    (shown,) = (await api.get(f"/budgets/{budget_id}/summary")).body

    budget = services.book.get(budget_id)
    assert budget is not None
    week = budget.calendar.window("weekly", clock.now())
    anew = await Projections(services.ledger).of(budget, week, nanos_of_usd(shown["spent"]), clock.now())
    assert anew is not None
    assert shown["projected"] == usd(anew.expected_nanos)


async def test_what_was_spent_before_a_budget_was_made_is_no_pace_of_its_minutes(api: Api, clock: MovedClock) -> None:
    """Records of days before it are imported: the window has gone on since the first of them, and none is told."""
    budget_id = await api.budget(weekly_limit=100)
    clock.move(timedelta(days=5))
    made = clock.now()
    weekly = await api.budget(name="Made late", weekly_limit=100)
    for hours in range(2, 5 * 24):
        await api.record(cost=0.1, timestamp=(made - timedelta(hours=hours)).isoformat())
    clock.move(timedelta(minutes=1))

    (early,) = (await api.get(f"/budgets/{budget_id}/summary")).body
    (late,) = (await api.get(f"/budgets/{weekly}/summary")).body

    assert late["spent"] == early["spent"]
    assert late["projected"] == pytest.approx(early["projected"], rel=0.2)
    assert not early["projected_early"]
    await api.services.alerts.look_ahead()
    assert (await api.get("/alerts", alert_type="forecast")).body["total"] == 0


async def test_a_projection_of_the_first_minutes_says_that_it_is_one(api: Api, clock: MovedClock) -> None:
    """No day before and less than an eighth of the window: nobody is alerted by it, and nobody is shown it as known."""
    budget_id = await api.budget(daily_limit=5, weekly_limit=100)
    clock.move(timedelta(minutes=1))
    await api.record(cost=0.1)

    (daily, weekly) = (await api.get(f"/budgets/{budget_id}/summary")).body
    assert (daily["projected_early"], weekly["projected_early"]) == (True, True)
    clock.move(timedelta(hours=4))
    (daily, weekly) = (await api.get(f"/budgets/{budget_id}/summary")).body
    assert (daily["projected_early"], weekly["projected_early"]) == (False, True)
