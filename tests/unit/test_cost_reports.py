"""Providers' reports of what they billed, and how they are compared."""

from datetime import date
from typing import Any

import pytest

from penia_proxy.budget.reconciliation import Billed, Captured, Line, Report, compared, drifts, rate
from penia_proxy.wire.cost_reports import UnknownReport, read_report

DAY = date(2026, 11, 22)
START, END = 1795305600, 1795392000
"""2026-11-22 in Unix seconds."""


def openai(*results: Any, start: Any = START, end: Any = END, **page: Any) -> dict[str, Any]:
    """Return a page of OpenAI's costs with one day."""
    bucket = {"object": "bucket", "start_time": start, "end_time": end, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None, **page}


def cost(value: Any, line_item: str | None = None, currency: str = "usd") -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": currency},
        "line_item": line_item,
        "project_id": None,
    }


def anthropic(*results: Any, **bucket: Any) -> dict[str, Any]:
    """Return a page of Anthropic's cost report with one day."""
    whole = {"starting_at": "2026-11-22T00:00:00Z", "ending_at": "2026-11-23T00:00:00Z", "results": list(results)}
    return {"data": [{**whole, **bucket}], "has_more": True, "next_page": "page_x"}


def charge(amount: str, model: str | None) -> dict[str, Any]:
    return {
        "amount": amount,
        "currency": "USD",
        "cost_type": "tokens" if model else "web_search",
        "token_type": "output_tokens" if model else None,
        "model": model,
        "description": None,
        "service_tier": "standard",
        "context_window": "0-200k",
        "workspace_id": None,
    }


def test_openais_costs() -> None:
    """Dollars as numbers or as text, summed by the model before the comma of a line item; none where not grouped."""
    report = read_report(
        openai(
            cost(0.13080438, "gpt-4o-2024-08-06, input"),
            cost("0.0600000000000000", "gpt-4o-2024-08-06, output"),
            cost(1, "Web search"),
            cost(0.5),
        )
    )

    assert report == Report(
        "openai",
        (DAY,),
        (
            Billed(DAY, "gpt-4o-2024-08-06", 190_804_380),
            Billed(DAY, "Web search", 1_000_000_000),
            Billed(DAY, None, 500_000_000),
        ),
        is_whole=True,
    )


def test_anthropics_cost_report() -> None:
    """Cents as text, exactly; a page that says that more follow is not the whole."""
    report = read_report(anthropic(charge("123.45", "claude-sonnet-4-5-20250929"), charge("0.0001", None)))

    assert (report.source, report.is_whole) == ("anthropic", False)
    assert report.lines == (Billed(DAY, "claude-sonnet-4-5-20250929", 1_234_500_000), Billed(DAY, None, 1_000))


def test_pages_are_one_report() -> None:
    """A list of pages covers all their days, and is whole if its last page is the last."""
    pages = [openai(cost(1), has_more=True), openai(cost(2), start=END, end=END + 86_400)]

    report = read_report(pages)

    assert report.days == (DAY, date(2026, 11, 23))
    assert report.is_whole
    assert not read_report(pages[:1]).is_whole


@pytest.mark.parametrize(
    "given",
    [
        {},
        [],
        "text",
        {"data": {}},
        {"data": []},
        {"data": ["x"]},
        openai(cost(1, currency="eur")),
        openai(cost(True)),
        openai(cost("NaN")),
        openai(cost(10**10)),
        openai(cost(None)),
        openai({"amount": 1}),
        openai("x"),
        openai(start="yesterday"),
        openai(start=10**20),
        openai(end=START + 3600),
        openai(start=START + 3600, end=END + 3600),
        [openai(), openai()],
        anthropic(charge("1,5", "claude")),
        anthropic(starting_at=None),
        anthropic(ending_at="2026-11-22T01:00:00Z"),
        anthropic(results=None),
        [openai(), anthropic()],
    ],
)
def test_what_is_not_understood_is_refused(given: Any) -> None:
    """Half of a report would look like a drift."""
    with pytest.raises(UnknownReport):
        read_report(given)


def test_a_line_for_each_day_and_model() -> None:
    """Snapshots and their name are one; what only one side has is there, too."""
    report = Report(
        "openai",
        (DAY,),
        (Billed(DAY, "gpt-4o-2024-08-06", 5), Billed(DAY, "gpt-4o-2024-08-06", 2), Billed(DAY, None, 1)),
        is_whole=True,
    )
    captured = [Captured(DAY, "gpt-4o", 6, 3, 0), Captured(DAY, "gpt-4o-mini", 0, 2, 2)]

    assert compared(report, captured) == [
        Line(DAY, None, billed_nanos=1),
        Line(DAY, "gpt-4o", 7, 6, 3, 0),
        Line(DAY, "gpt-4o-mini", 0, 0, 2, 2),
    ]


@pytest.mark.parametrize(
    ("billed", "captured", "is_drift"),
    [
        (10**9, 10**9, False),
        (10**9, 985_000_000, False),
        (10**9, 970_000_000, True),
        (10**9, 1_030_000_000, True),
        (10**6, 0, False),
        (0, 10**9, True),
        (0, 0, False),
    ],
)
def test_a_drift_is_more_than_noise(billed: int, captured: int, is_drift: bool) -> None:
    """Two per cent, in either direction, of what is more than a cent."""
    assert drifts(billed, captured) == is_drift
    assert rate(billed, captured) == (captured / billed if billed else None)
