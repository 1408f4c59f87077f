"""
Read providers' own reports of what they billed.

Its one job: the JSON of OpenAI's costs API and of Anthropic's cost report, a page or a list of pages → one `Report`.
Rules: amounts are read as the decimals they were written as, and summed by day and model. Another currency than USD, a
bucket that is no UTC day, and whatever is in neither shape is refused: a report that is half understood would look like
a drift.

Sources, read on 2026-11-24:
* OpenAI, GET /v1/organization/costs (developers.openai.com/api/reference, "Costs"): pages of buckets with `start_time`
  and `end_time` in Unix seconds; `results` have `amount` {`value` in dollars, `currency` "usd"} and `line_item`, null
  unless grouped by it. A line item is a model, or a model, a comma and what of it ("gpt-4o-2024-08-06, input"): so in
  what public projects test with; the reference does not say.
* Anthropic, GET /v1/organizations/cost_report (platform.claude.com/docs/en/api/admin/cost_report): pages of buckets
  with `starting_at` and `ending_at`; `results` have `amount`, a decimal text in cents ("123.45" is $1.23), `currency`
  "USD" and `model`, null unless grouped by description and for what is not tokens.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from penia_proxy.budget.money import nanos_of
from penia_proxy.budget.reconciliation import Billed, Report

DAY = timedelta(days=1)
AMOUNT_MAX = Decimal(10**9)
CENTS = Decimal(100)


class UnknownReport(ValueError):
    """Not a report that we can read; ``str`` is a sentence for people."""


def read_report(given: Any) -> Report:
    """Return the report of one page, or of a list of pages. Raises UnknownReport."""
    pages = given if isinstance(given, list) else [given]
    if not pages or not all(isinstance(page, dict) and isinstance(page.get("data"), list) for page in pages):
        raise UnknownReport("the report has no page with 'data'")
    buckets = [bucket for page in pages for bucket in page["data"]]
    if not buckets or not all(isinstance(bucket, dict) for bucket in buckets):
        raise UnknownReport("the report has no day in it")
    source = "anthropic" if "starting_at" in buckets[0] else "openai"
    days: set[date] = set()
    lines: list[Billed] = []
    for bucket in buckets:
        day = _day(bucket, source)
        if day in days:
            raise UnknownReport(f"{day} is in the report twice")
        days.add(day)
        billed: dict[str | None, int] = {}
        for model, usd in _amounts(bucket, source):
            billed[model] = billed.get(model, 0) + nanos_of(usd)
        lines.extend(Billed(day, model, nanos) for model, nanos in billed.items())
    return Report(source, tuple(sorted(days)), tuple(lines), is_whole=not pages[-1].get("has_more"))


def _day(bucket: Mapping[str, Any], source: str) -> date:
    try:
        if source == "anthropic":
            start, end = (datetime.fromisoformat(bucket[name]) for name in ("starting_at", "ending_at"))
        else:
            start, end = (datetime.fromtimestamp(bucket[name], UTC) for name in ("start_time", "end_time"))
        start = start.astimezone(UTC)
        is_day = end - start == DAY and start == start.replace(hour=0, minute=0, second=0, microsecond=0)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise UnknownReport("a day of the report does not say when it begins and ends") from None
    if not is_day:
        raise UnknownReport("the report's buckets are not days: ask for bucket_width=1d")
    return start.date()


def _amounts(bucket: Mapping[str, Any], source: str) -> Iterator[tuple[str | None, Decimal]]:
    """Yield model and USD of each line."""
    results = bucket.get("results")
    if not isinstance(results, list):
        raise UnknownReport("a day of the report has no 'results'")
    for result in results:
        try:
            if source == "anthropic":
                model, amount, currency = result.get("model"), _decimal(result["amount"]) / CENTS, result["currency"]
            else:
                item = result.get("line_item")
                model = item and str(item).partition(", ")[0]
                amount, currency = _decimal(result["amount"]["value"]), result["amount"]["currency"]
        except (AttributeError, KeyError, TypeError, InvalidOperation):
            raise UnknownReport("a line of the report has no amount with its currency") from None
        if str(currency).upper() != "USD":
            raise UnknownReport(f"the report is in {str(currency)[:8]!r}: only USD can be compared")
        name = str(model)[:200] if model else None
        if name is not None and not name.isprintable():  # half a surrogate among them, which nobody can store
            raise UnknownReport("a model's name in the report is not text")
        yield name, amount


def _decimal(value: object) -> Decimal:
    amount = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    if not amount.is_finite() or abs(amount) > AMOUNT_MAX:
        raise InvalidOperation
    return amount
