"""
Windows: vectors for the clock's oddities, and properties over every time zone.

Its one job: that the windows of a period tile time, whatever governments do to the clock.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penia_proxy.budget.windows import EPOCH, Calendar, Window
from penia_proxy.config import Period, Weekday
from penia_proxy.errors import InvalidRequest

PERIODS: tuple[Period, ...] = get_args(Period)
ENDING = tuple(period for period in PERIODS if period != "total")
MICROSECOND = timedelta(microseconds=1)

instants = st.timedeltas(timedelta(days=45), timedelta(days=65_000)).map(lambda since: EPOCH + since)
calendars = st.builds(
    Calendar.of,
    st.sampled_from(sorted(available_timezones() - {"localtime"})),
    st.sampled_from(get_args(Weekday)),
    st.integers(1, 31),
)


def calendar(timezone: str = "UTC", week_start: Weekday = "monday", month_start_day: int = 1) -> Calendar:
    """Return a calendar that differs from the usual one in what is named."""
    return Calendar.of(timezone, week_start, month_start_day)


def at(text: str) -> datetime:
    """Return a UTC instant, to the minute."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


DAYS = [
    pytest.param("Europe/Berlin", "2026-03-29 12:00", "2026-03-28 23:00", "2026-03-29 22:00", id="Berlin, 23 hours"),
    pytest.param("Europe/Berlin", "2026-10-25 12:00", "2026-10-24 22:00", "2026-10-25 23:00", id="Berlin, 25 hours"),
    pytest.param("Asia/Beirut", "2026-03-29 12:00", "2026-03-28 22:00", "2026-03-29 21:00", id="no midnight"),
    pytest.param("Asia/Beirut", "2026-03-28 21:59", "2026-03-27 22:00", "2026-03-28 22:00", id="the day before it"),
    pytest.param("America/Havana", "2026-11-01 12:00", "2026-11-01 04:00", "2026-11-02 05:00", id="two midnights"),
    pytest.param("America/Havana", "2026-11-01 05:00", "2026-11-01 04:00", "2026-11-02 05:00", id="the second of them"),
    pytest.param("Pacific/Apia", "2011-12-30 09:59", "2011-12-29 10:00", "2011-12-30 10:00", id="before a skipped day"),
    pytest.param("Pacific/Apia", "2011-12-30 10:00", "2011-12-30 10:00", "2011-12-31 10:00", id="after it: the 31st"),
    pytest.param("Africa/Casablanca", "2026-02-15 12:00", "2026-02-14 23:00", "2026-02-16 00:00", id="Ramadan begins"),
    pytest.param("Africa/Casablanca", "2026-03-22 12:00", "2026-03-22 00:00", "2026-03-22 23:00", id="Ramadan ends"),
    pytest.param("Asia/Kathmandu", "2026-11-23 12:00", "2026-11-22 18:15", "2026-11-23 18:15", id="+5:45"),
    pytest.param("Australia/Lord_Howe", "2026-10-04 12:00", "2026-10-03 13:30", "2026-10-04 13:00", id="23.5 hours"),
    pytest.param("America/Toronto", "1970-06-01 12:00", "1970-06-01 04:00", "1970-06-02 04:00", id="the earliest year"),
    # The clock reached the 1st, went back at 00:01 to 23:01 of October, and reached the 1st again.
    pytest.param(
        "America/St_Johns", "2009-11-01 03:00", "2009-11-01 02:30", "2009-11-02 03:30", id="back over midnight"
    ),
    pytest.param("UTC", "2016-12-31 23:59", "2016-12-31 00:00", "2017-01-01 00:00", id="a leap second"),
    pytest.param("UTC", "2038-01-19 03:15", "2038-01-19 00:00", "2038-01-20 00:00", id="2038"),
    pytest.param("UTC", "9000-12-31 23:59", "9000-12-31 00:00", "9001-01-01 00:00", id="the last year"),
]


@pytest.mark.fault("T2")
@pytest.mark.parametrize(("timezone", "instant", "start", "end"), DAYS)
def test_a_day_is_what_the_local_clock_says(timezone: str, instant: str, start: str, end: str) -> None:
    """A day starts when the local clock first reads its midnight or later, and ends when the next one starts."""
    assert calendar(timezone).window("daily", at(instant)) == Window("daily", at(start), at(end))


MONTHS = [
    pytest.param(1, "2028-02-29 12:00", "2028-02-01", "2028-03-01", id="leap day"),
    pytest.param(31, "2026-02-28 00:00", "2026-02-28", "2026-03-31", id="February has no 31st: its last day"),
    pytest.param(31, "2026-02-27 23:59", "2026-01-31", "2026-02-28", id="the day before that"),
    pytest.param(31, "2028-02-29 00:00", "2028-02-29", "2028-03-31", id="nor in a leap year"),
    pytest.param(30, "2026-04-29 23:59", "2026-03-30", "2026-04-30", id="the 30th"),
    pytest.param(29, "2027-02-28 12:00", "2027-02-28", "2027-03-29", id="the 29th of a common year"),
    pytest.param(15, "2027-01-14 23:59", "2026-12-15", "2027-01-15", id="over the end of the year"),
]


@pytest.mark.fault("T2")
@pytest.mark.parametrize(("month_start_day", "instant", "start", "end"), MONTHS)
def test_a_month_starts_on_its_day_or_its_last(month_start_day: int, instant: str, start: str, end: str) -> None:
    """A month that is shorter than the start day starts on its last day."""
    window = calendar(month_start_day=month_start_day).window("monthly", at(instant))

    assert window == Window("monthly", at(start), at(end))


@pytest.mark.parametrize(
    ("week_start", "start"),
    [("monday", "2026-11-23"), ("sunday", "2026-11-22"), ("tuesday", "2026-11-17"), ("saturday", "2026-11-21")],
)
def test_a_week_starts_on_its_weekday(week_start: Weekday, start: str) -> None:
    """The week of a Monday starts on the latest day with the name asked for."""
    window = calendar(week_start=week_start).window("weekly", at("2026-11-23 12:00"))

    assert window == Window("weekly", at(start), at(start) + timedelta(days=7))


@pytest.mark.fault("T2")
def test_a_week_survives_a_skipped_day() -> None:
    """Where the week's first day was skipped, the week starts with what followed the gap."""
    window = calendar("Pacific/Apia", "friday").window("weekly", at("2012-01-01 12:00"))

    assert window == Window("weekly", at("2011-12-30 10:00"), at("2012-01-05 10:00"))


HOURS = [
    pytest.param("UTC", "2026-11-23 10:59", "2026-11-23 10:00", 60, id="UTC"),
    pytest.param("Asia/Kathmandu", "2026-11-23 10:20", "2026-11-23 10:15", 60, id="a quarter past"),
    pytest.param("Europe/Berlin", "2026-10-25 00:30", "2026-10-25 00:00", 60, id="the first 2 o'clock"),
    pytest.param("Europe/Berlin", "2026-10-25 01:30", "2026-10-25 01:00", 60, id="the second 2 o'clock"),
    pytest.param("Europe/Berlin", "2026-03-29 01:30", "2026-03-29 01:00", 60, id="after the gap"),
    pytest.param("Australia/Lord_Howe", "2026-10-04 12:45", "2026-10-04 12:30", 30, id="the short last hour"),
    pytest.param("Australia/Lord_Howe", "2026-10-04 13:05", "2026-10-04 13:00", 60, id="the next day is even again"),
]


@pytest.mark.fault("T2")
@pytest.mark.parametrize(("timezone", "instant", "start", "minutes"), HOURS)
def test_an_hour_is_real_and_follows_the_local_clock(timezone: str, instant: str, start: str, minutes: int) -> None:
    """Hours are 3,600 s from the local day's start; only the last of a day can be shorter."""
    window = calendar(timezone).window("hourly", at(instant))

    assert window == Window("hourly", at(start), at(start) + timedelta(minutes=minutes))


def test_total_is_all_time() -> None:
    """The total's one window starts in 1970 and has no end."""
    assert calendar("Asia/Tokyo").window("total", at("2026-11-23 10:00")) == Window("total", EPOCH, None)


def test_the_five_windows_come_in_order() -> None:
    """All five are answered, from the shortest to the longest."""
    windows = calendar().windows(at("2026-11-23 10:59"))

    assert [window.period for window in windows] == ["hourly", "daily", "weekly", "monthly", "total"]


def test_an_unknown_time_zone_is_refused() -> None:
    """What is no IANA name is the caller's error: no path, no machine's own setting."""
    for timezone in ("Mars/Olympus", "", "../etc/passwd", "localtime", "Europe", "\0"):
        with pytest.raises(InvalidRequest, match="time zone"):
            calendar(timezone)


def test_equal_arguments_give_the_same_calendar() -> None:
    """Calendars are shared, so what one budget looked up serves the next."""
    assert calendar("Europe/Berlin") is calendar("Europe/Berlin")
    assert calendar("Europe/Berlin") != calendar("Europe/Paris")


@pytest.mark.fault("T3")
@pytest.mark.parametrize("instant", ["1969-12-31 23:59", "9001-01-01 00:00"])
def test_an_instant_that_no_call_can_have_is_refused(instant: str) -> None:
    """Before 1970 and after 9000 there are no windows, rather than wrong ones."""
    with pytest.raises(InvalidRequest, match="out of range"):
        calendar().window("daily", at(instant))


def test_any_aware_instant_is_the_same_instant() -> None:
    """An instant with another offset falls in the window of the same moment in UTC."""
    local = datetime.fromisoformat("2026-11-23T23:30:00-05:00")

    assert calendar().window("daily", local).start == at("2026-11-24")
    assert calendar().window("daily", local).start.tzinfo is UTC


def windows_around(these: Calendar, period: Period, instant: datetime) -> Iterator[Window]:
    """Yield the window of an instant, the one before and the one after, none from memory."""
    window = these._find(period, instant)
    assert window.end is not None
    yield these._find(period, window.start - MICROSECOND)
    yield window
    yield these._find(period, window.end)


@pytest.mark.fault("T2")
@settings(max_examples=300, deadline=None)
@given(calendars, instants)
@example(calendar("Asia/Beirut"), at("2026-03-28 22:00"))
@example(calendar("America/Havana"), at("2026-11-01 04:30"))
@example(calendar("Pacific/Apia", "friday", 30), at("2011-12-30 10:00"))
@example(calendar("America/St_Johns", "sunday"), at("2009-11-01 02:31"))
@example(calendar("Australia/Lord_Howe"), at("2026-04-05 12:59"))
@example(calendar("Antarctica/Troll", "sunday", 29), at("2026-03-29 01:00"))
def test_windows_tile_time(these: Calendar, instant: datetime) -> None:
    """In every zone: a window contains its instant, its neighbours touch it, and each of its instants is in it."""
    for period in ENDING:
        before, window, after = windows_around(these, period, instant)

        assert window.end is not None
        assert window.start <= instant < window.end
        assert before.end == window.start
        assert after.start == window.end
        assert these._find(period, window.start) == window
        assert these._find(period, window.end - MICROSECOND) == window


@pytest.mark.fault("T2")
@settings(max_examples=200, deadline=None)
@given(calendars, instants, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_later_instants_have_later_windows(these: Calendar, instant: datetime, later: timedelta) -> None:
    """No window of a later instant starts earlier, whether it was remembered or computed."""
    for period in PERIODS:
        assert these.window(period, instant).start <= these.window(period, instant + later).start
        assert these.window(period, instant) == these._find(period, instant)


@settings(max_examples=100, deadline=None)
@given(calendars, instants)
def test_shorter_windows_lie_in_longer_ones(these: Calendar, instant: datetime) -> None:
    """An hour lies in its day, a day in its week and in its month."""
    hour, day, week, month, _ = these.windows(instant)

    for inner, outer in ((hour, day), (day, week), (day, month)):
        assert inner.end is not None
        assert outer.end is not None
        assert outer.start <= inner.start < inner.end <= outer.end
