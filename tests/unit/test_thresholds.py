"""A threshold fires once for a budget's window, whatever crosses it, and is armed again only by a higher limit."""

import itertools
from datetime import UTC, datetime

import pytest

from penia_proxy.budget.alert import Thresholds, cents, severity_of
from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.budget.windows import Window
from penia_proxy.config import BudgetSpec

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMIT = 5_000_000_000


def thresholds(*percents: float) -> Thresholds:
    numbers = itertools.count(1)
    return Thresholds(percents or (50, 80, 90, 100), lambda: f"a_{next(numbers)}")


def budget(**spec: object) -> Budget:
    return budget_of(
        BudgetSpec.model_validate({"name": "Default", "daily_limit": 5.0, **spec}),
        budget_id="b_1",
        created_at=NOW,
        updated_at=NOW,
    )


BUDGET = budget()
DAY: Window = BUDGET.calendar.window("daily", NOW)


def fired(watch: Thresholds, used: int, limit: int = LIMIT, window: Window = DAY) -> list[float]:
    crossed, _ = watch.seen(BUDGET, window, used, limit)
    return [crossing.percent for _, crossing in crossed]


def test_each_fires_once_at_its_exact_amount() -> None:
    """A nano-dollar less is not enough, and what is passed at once fires at once."""
    watch = thresholds()

    assert fired(watch, LIMIT // 2 - 1) == []
    assert fired(watch, LIMIT // 2) == [50]
    assert fired(watch, LIMIT // 2 + 1) == []
    assert fired(watch, 4_000_000_000) == [80]
    assert fired(watch, LIMIT) == [90, 100]
    assert fired(watch, 2 * LIMIT) == []


def test_names_are_exact_and_those_of_before() -> None:
    """Two thresholds are two names, however close; an ordinary one is named as ledgers have it."""
    crossed, _ = thresholds(0.1, 12.5, 33.33, 99.99999, 100.0, 999.999).seen(BUDGET, DAY, 10 * LIMIT, LIMIT)

    names = [crossing.once_key.removesuffix(":0").rsplit(":", 1)[1] for _, crossing in crossed]
    titles = {crossing.alert("a_1", NOW).title for _, crossing in crossed if crossing.percent < 100}
    assert names == ["0.1", "12.5", "33.33", "99.99999", "100", "999.999"]
    assert "Budget 'Default': 99.99999% of the daily limit is used" in titles


def test_a_number_that_swings_rings_once() -> None:
    """A hold that is given back arms nothing."""
    watch = thresholds()

    assert [fired(watch, used) for used in (4_100_000_000, 0, 4_100_000_000, 0, 4_200_000_000)] == [
        [50, 80],
        [],
        [],
        [],
        [],
    ]


def test_a_new_window_is_another() -> None:
    """Tomorrow counts from nothing."""
    watch = thresholds()
    tomorrow = BUDGET.calendar.window("daily", NOW.replace(day=24))

    assert fired(watch, LIMIT // 2) == [50]
    assert fired(watch, LIMIT // 2, window=tomorrow) == [50]


def test_a_lowered_limit_crosses_and_a_raised_one_resolves() -> None:
    """What a higher limit takes the reason from is resolved, and may ring again, under another name."""
    watch = thresholds(80)
    crossed, resolved = watch.seen(BUDGET, DAY, 3_000_000_000, LIMIT)
    assert (crossed, resolved) == ([], [])

    [(first, crossing)], _ = watch.seen(BUDGET, DAY, 3_000_000_000, 3_500_000_000)
    _, resolved = watch.seen(BUDGET, DAY, 3_000_000_000, 10_000_000_000)
    [(_, again)], _ = watch.seen(BUDGET, DAY, 8_000_000_000, 10_000_000_000)

    assert resolved == [first]
    assert (crossing.round, again.round) == (0, 1)
    assert crossing.once_key != again.once_key


def test_a_raised_limit_that_is_not_enough_resolves_nothing() -> None:
    """80 % of the new limit is still reached: it is the same alert."""
    watch = thresholds(80)
    watch.seen(BUDGET, DAY, 4_900_000_000, LIMIT)

    assert watch.seen(BUDGET, DAY, 4_900_000_000, LIMIT + 1_000_000_000) == ([], [])


def test_another_process_remembers() -> None:
    """An alert that was raised before does not ring again, and its rounds go on."""
    watch = thresholds(50, 80)
    crossed, _ = watch.seen(BUDGET, DAY, 2_600_000_000, LIMIT)
    alerts = [crossing.alert(alert_id, NOW) for alert_id, crossing in crossed]
    later = thresholds(50, 80)
    for alert in alerts:
        later.restore(alert)

    assert fired(later, 2_600_000_000) == []
    assert fired(later, 4_000_000_000) == [80]
    assert later.seen(BUDGET, DAY, 1_000_000_000, 2 * LIMIT)[1] == [alerts[0].alert_id, "a_1"]


def test_nothing_used_is_nothing_crossed() -> None:
    """A limit of 0 is used up by the first nano-dollar, and not by none."""
    watch = thresholds()

    assert fired(watch, 0, limit=0) == []
    assert fired(watch, 1, limit=0) == [50, 80, 90, 100]


def test_other_thresholds_count_from_then_on() -> None:
    """What has fired stays fired."""
    watch = thresholds(50)
    assert fired(watch, 3_000_000_000) == [50]

    watch.take((50, 60))

    assert fired(watch, 3_000_000_000) == [60]


def test_what_is_said() -> None:
    """Figures, period and what happens next are in the sentence; severity follows the threshold."""
    watch = thresholds(100)
    blocking = budget(enforcement="block", overrun="never")
    [(alert_id, crossing)], _ = watch.seen(blocking, DAY, LIMIT, LIMIT)

    alert = crossing.alert(alert_id, NOW)

    assert (alert.alert_type, alert.severity, alert.period) == ("exceeded", "critical", "daily")
    assert alert.title == "Budget 'Default': the daily limit is used up"
    assert alert.message == (
        "Budget 'Default' is past 100%: $5.00 of the daily $5.00 is spent or held (100%)."
        " Calls that do not fit are refused."
    )
    assert [severity_of(percent) for percent in (50, 79.9, 80, 99, 100)] == [
        "info",
        "info",
        "warning",
        "warning",
        "critical",
    ]


@pytest.mark.parametrize(
    ("nanos", "said"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (57_980_000, "0.05798"),
        (123_456_789, "0.1235"),
        (500_000_000, "0.50"),
        (1_234_567_890_000, "1,234.57"),
    ],
)
def test_amounts_in_messages_are_as_people_write_them(nanos: int, said: str) -> None:
    """Cents at least, and never an exponent."""
    assert cents(nanos) == said
