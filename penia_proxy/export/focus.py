"""
Write records as FOCUS, the FinOps Open Cost and Usage Specification.

Its one job: the Cost and Usage dataset of version 1.4 (ratified on 2026-06-04, focus.finops.org/focus-specification) as
CSV: its mandatory columns, the others that a call has something to say in, and ours behind them with `x_`.
Rules: a row is a record. Each price is its tokens', so a row has one SKU, its model, whose meter is all tokens, and no
unit price; the four costs are then the same (ListCost's rule where ListUnitPrice is not given). A cost that is not
known cannot be null there: it is 0, and both `x_CostBasis` and the description say that it is not known.
Numbers have no exponent, and instants are whole seconds in UTC (its NumericFormat and DateTimeFormat).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import orjson

from penia_proxy.budget.money import usd_text
from penia_proxy.budget.record import ADJUSTED_AT, UsageRecord
from penia_proxy.clock import from_iso, iso
from penia_proxy.export.table import Pages, csv_bytes


def encoded(pages: Pages) -> Iterator[bytes]:
    """Yield the dataset."""
    yield csv_bytes([list(COLUMNS)])
    for page in pages:
        yield csv_bytes([[cell(record) for cell in COLUMNS.values()] for record in page])


def _second(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _month(record: UsageRecord) -> datetime:
    return record.timestamp.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(record: UsageRecord) -> datetime:
    return (_month(record) + timedelta(days=31)).replace(day=1)


def _hour(record: UsageRecord) -> datetime:
    return record.timestamp.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _cost(record: UsageRecord) -> str:
    return usd_text(record.cost_nanos or 0)


def _class(record: UsageRecord) -> str:
    """Return `Correction` for what was corrected after the month of the call: its billing period was closed."""
    adjusted = record.metadata.get(ADJUSTED_AT)
    if record.corrects is None or not isinstance(adjusted, str) or from_iso(adjusted) < _next_month(record):
        return ""
    return "Correction"


def _description(record: UsageRecord) -> str:
    if record.cost_nanos is None:
        return f"Call to {record.model}; no price is known, so what it cost is not known"
    what = "Correction of a call" if record.corrects else "Call"
    return f"{what} to {record.model}"


def _sku(record: UsageRecord) -> str:
    return f"{record.provider}/{record.model}"


def _tokens(record: UsageRecord) -> str:
    return str(record.usage.total)


def _provider(record: UsageRecord) -> str:
    return record.provider


def _always(value: str) -> Callable[[UsageRecord], str]:
    return lambda _record: value


COLUMNS: Mapping[str, Callable[[UsageRecord], str]] = {
    "BilledCost": _cost,
    "BillingAccountId": _provider,
    "BillingAccountName": _always(""),
    "BillingCurrency": _always("USD"),
    "BillingPeriodEnd": lambda record: _second(_next_month(record)),
    "BillingPeriodStart": lambda record: _second(_month(record)),
    "ChargeCategory": _always("Usage"),
    "ChargeClass": _class,
    "ChargeDescription": _description,
    "ChargeFrequency": _always("Usage-Based"),
    "ChargePeriodEnd": lambda record: _second(_hour(record) + timedelta(hours=1)),
    "ChargePeriodStart": lambda record: _second(_hour(record)),
    "ConsumedQuantity": _tokens,
    "ConsumedUnit": _always("Tokens"),
    "ContractedCost": _cost,
    "EffectiveCost": _cost,
    "HostProviderName": _provider,
    "InvoiceIssuerName": _provider,
    "ListCost": _cost,
    "PricingQuantity": _tokens,
    "PricingUnit": _always("Tokens"),
    "ServiceCategory": _always("AI and Machine Learning"),
    "ServiceName": _provider,
    "ServiceProviderName": _provider,
    "ServiceSubcategory": _always("Generative AI"),
    "SkuId": _sku,
    "SkuMeter": _always("Tokens"),
    "SkuPriceDetails": _always(""),
    "SkuPriceId": _sku,
    "Tags": lambda record: orjson.dumps(dict(record.tags)).decode(),
    "x_BudgetId": lambda record: record.budget_ids[0] if record.budget_ids else "",
    "x_CacheReadTokens": lambda record: str(record.usage.cache_read_total),
    "x_CacheWriteTokens": lambda record: str(record.usage.cache_write_total),
    "x_Component": lambda record: record.component,
    "x_Corrects": lambda record: record.corrects or "",
    "x_CostBasis": lambda record: record.cost_basis,
    "x_InputTokens": lambda record: str(record.usage.input_total),
    "x_OutputTokens": lambda record: str(record.usage.output_total),
    "x_RecordId": lambda record: record.record_id,
    "x_TaskType": lambda record: record.task_type or "",
    "x_Timestamp": lambda record: iso(record.timestamp),
}
