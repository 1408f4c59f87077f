"""Usage over time, over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.api import timeseries
from penia_proxy.clock import iso
from tests.api.client import NOON, Api

SERIES = "/usage/timeseries"


async def hours(api: Api, *ago: float, **said: Any) -> None:
    """Post a record of half a dollar so many hours ago each."""
    for hour in ago:
        await api.record(timestamp=iso(NOON - timedelta(hours=hour)), **said)


async def test_empty_buckets_are_zeros(api: Api) -> None:
    """Every hour of the stretch has a point, in order, whether anything was used in it or not."""
    await hours(api, 0.5, 0.25, 3)

    body = (await api.get(SERIES, bucket="hour", start_date="2026-11-23T08:00:00Z")).body

    (line,) = body["series"]
    assert [(point["start"][11:13], point["cost"], point["count"]) for point in line["points"]] == [
        ("08", 0.0, 0),
        ("09", 0.5, 1),
        ("10", 0.0, 0),
        ("11", 1.0, 2),
    ]
    assert (line["name"], line["is_rest"], line["total_cost"]) == (None, False, 1.5)
    assert (body["start_time"], body["end_time"]) == ("2026-11-23T08:00:00.000000Z", iso(NOON))


@pytest.mark.parametrize(("bucket", "points"), [("hour", 24), ("day", 30)])
async def test_without_a_start_it_is_the_last_day_or_month(api: Api, bucket: str, points: int) -> None:
    """By default 24 hours or 30 days, up to now, the present bucket included; nothing used is zeros."""
    body = (await api.get(SERIES, bucket=bucket)).body

    starts = [point["start"] for point in body["series"][0]["points"]]
    assert len(starts) == points
    assert starts[-1] == ("2026-11-23T11:00:00.000000Z" if bucket == "hour" else "2026-11-23T00:00:00.000000Z")


async def test_a_broken_bucket_holds_what_lies_in_the_stretch(api: Api) -> None:
    """An hour that the stretch cuts has only what is inside, exact to the instant; a date is inclusive to its end."""
    await hours(api, 1.75, 1.25)
    cut = (await api.get(SERIES, bucket="hour", start_date="2026-11-23T10:30:00Z")).body
    whole = (await api.get(SERIES, bucket="day", start_date="2026-11-22", end_date="2026-11-23")).body

    assert [point["count"] for point in cut["series"][0]["points"]] == [1, 0]
    assert [point["count"] for point in whole["series"][0]["points"]] == [0, 2]


async def test_groups_are_lines_and_what_is_too_many_is_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each group, dearest first, every line with every bucket; beyond the bound the others are one rest."""
    monkeypatch.setattr(timeseries, "GROUPS_MAX", 2)
    await hours(api, 1, component="a", cost=1)
    await hours(api, 1, component="b", cost=3)
    await hours(api, 1, component="c", cost=0.25)
    await hours(api, 2, component="d", cost=0.5)

    body = (await api.get(SERIES, bucket="hour", group_by="component", start_date="2026-11-23T10:00:00Z")).body

    assert [(line["name"], line["is_rest"], line["total_cost"]) for line in body["series"]] == [
        ("b", False, 3.0),
        ("a", False, 1.0),
        (None, True, 0.75),
    ]
    assert [[point["cost"] for point in line["points"]] for line in body["series"]] == [[0, 3], [0, 1], [0.5, 0.25]]


async def test_it_adds_up_to_the_summary(api: Api) -> None:
    """With the same filters, its points come to what the summary says."""
    await api.budget(daily_limit=5)
    await hours(api, 0.1, 5, 30, 50, model="gpt-4o")
    await hours(api, 7, model="no-such-model", cost=None)
    asked = {"start_date": "2026-11-21T06:30:00Z", "component": "rhetor"}

    body = (await api.get(SERIES, bucket="hour", **asked)).body
    summary = (await api.post("/usage/summary", {"component": "rhetor", "start_time": asked["start_date"]})).body

    points = body["series"][0]["points"]
    assert sum(point["cost"] for point in points) == summary["total_cost"] == 2.0
    assert sum(point["count"] for point in points) == summary["request_count"] == 5
    assert sum(point["total_tokens"] for point in points) == summary["total_tokens"]
    assert sum(point["unpriced_requests"] for point in points) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"bucket": "hour", "start_date": "2026-01-01"}, "start_date"),
        ({"bucket": "day", "start_date": "2001-01-01"}, "start_date"),
        ({"start_date": "2026-11-24"}, "start_date"),
        ({"bucket": "minute"}, "bucket"),
        ({"group_by": "colour"}, "group_by"),
    ],
)
async def test_what_has_too_many_points_or_makes_no_sense_is_refused(
    api: Api, query: dict[str, str], field: str
) -> None:
    """The number of points is bounded, and a stretch ends after it starts."""
    answer = await api.get(SERIES, **query)

    assert (answer.status, answer.fields) == (422, [field])
