"""
Turn values into rows, and rows into values.

Its one job: `UsageRecord`, `Hold` and `Budget` ↔ the columns of `schema`.
Rules: what is written is plain SQL values (JSON already as text), because the writer binds them without SQLAlchemy. A
row read back gives the value that was written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import RowMapping

from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.budget.money import CALL_NANOS_MAX
from penia_proxy.budget.record import Hold, Tally, UsageRecord
from penia_proxy.budget.usage import UNPRICED_COUNTS, Usage
from penia_proxy.clock import from_iso, iso
from penia_proxy.config import BudgetSpec

Row = Mapping[str, Any] | RowMapping

MEASURES = (
    "record_count",
    "request_count",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanos",
    "unpriced_count",
)
"""What `rollups` sums, in this order everywhere."""

TALLIED = ("spent_nanos", "input_tokens", "output_tokens", "request_count", "unpriced_count")
"""What `spend` sums: the durable part of a Tally."""

_USAGE_FIELDS = tuple(field.name for field in fields(Usage))
_figures = attrgetter(*_USAGE_FIELDS)


def json_text(value: object) -> str:
    """Return compact JSON. Raises TypeError for what JSON cannot say."""
    if value == {}:  # as most tags are
        return "{}"
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def record_row(record: UsageRecord, seq: int, fingerprint: str | None) -> dict[str, Any]:
    """Return the columns of `usage_records`."""
    usage = record.usage
    return {
        "seq": seq,
        "record_id": record.record_id,
        "budget_id": record.budget_ids[0] if record.budget_ids else None,
        "component": record.component,
        "provider": record.provider,
        "model": record.model,
        "task_type": record.task_type,
        "request_id": record.request_id,
        "input_tokens": usage.input_total,
        "cache_read_tokens": usage.cache_read_total,
        "cache_write_tokens": usage.cache_write_total,
        "output_tokens": usage.output_total,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": usage.total,
        "input_cost_nanos": record.input_cost_nanos,
        "cost_nanos": record.cost_nanos,
        "cost_basis": record.cost_basis,
        "pricing_version": record.pricing_version,
        "estimated_nanos": record.estimated_nanos,
        "streamed": record.streamed,
        "status": record.status,
        "latency_ms": record.latency_ms,
        "ttft_ms": record.ttft_ms,
        "timestamp": iso(record.timestamp),
        "tags": json_text(record.tags),
        "usage": json_text({name: value for name, value in zip(_USAGE_FIELDS, _figures(usage), strict=True) if value}),
        "corrects": record.corrects,
        "fingerprint": fingerprint,
        "metadata": json_text(record.metadata),
        "once_key": record.once_key,
        "words": record.words,
    }


def record_of(row: Row, budget_ids: Sequence[str]) -> UsageRecord:
    """Return the record of a row of `usage_records` whose JSON columns are read, and its charges in order."""
    return UsageRecord(
        record_id=row["record_id"],
        timestamp=from_iso(row["timestamp"]),
        component=row["component"],
        provider=row["provider"],
        model=row["model"],
        usage=Usage(**row["usage"]),
        cost_basis=row["cost_basis"],
        cost_nanos=row["cost_nanos"],
        input_cost_nanos=row["input_cost_nanos"],
        budget_ids=tuple(budget_ids),
        task_type=row["task_type"],
        request_id=row["request_id"],
        pricing_version=row["pricing_version"],
        estimated_nanos=row["estimated_nanos"],
        streamed=bool(row["streamed"]),
        status=row["status"],
        latency_ms=row["latency_ms"],
        ttft_ms=row["ttft_ms"],
        tags=row["tags"],
        corrects=row["corrects"],
        once_key=row["once_key"],
        words=row["words"],
        metadata=row["metadata"],
    )


def measures_of(row: Row) -> tuple[int, ...]:
    """Return what a row of `usage_records` adds to its rollup, in the order of MEASURES."""
    return (
        1,
        int(row["corrects"] is None),
        row["input_tokens"],
        row["cache_read_tokens"],
        row["cache_write_tokens"],
        row["output_tokens"],
        row["reasoning_tokens"],
        row["cost_nanos"] or 0,
        UNPRICED_COUNTS.get(row["cost_basis"], 0),
    )


def count(tally: Tally, row: Row) -> None:
    """Add a row of `usage_records` to a tally exactly as `Tally.add` adds its record's amounts."""
    tally.spent_nanos += row["cost_nanos"] or 0
    tally.input_tokens += row["input_tokens"]
    tally.output_tokens += row["output_tokens"]
    tally.request_count += row["corrects"] is None
    tally.unpriced_count += UNPRICED_COUNTS.get(row["cost_basis"], 0)


HOUR_WIDTH = len("2026-11-23T10:")
HOUR_REST = "00:00.000000Z"


RollupKey = tuple[str, str, str, str, str, str, int]
"""Hour, component, provider, model, task type, cost basis, and the number of the set of budgets that were charged."""


def rollup_key(row: Row, set_id: int) -> RollupKey:
    """Return it for a row of `usage_records`."""
    hour = hour_of(row["timestamp"])
    names = row["component"], row["provider"], row["model"], row["task_type"] or ""
    return (hour, *names, row["cost_basis"], set_id)


def hour_of(timestamp: str) -> str:
    """Return the text of the UTC hour that contains the instant; both as `clock.iso` writes them."""
    return timestamp[:HOUR_WIDTH] + HOUR_REST


def hold_row(hold: Hold) -> dict[str, Any]:
    """Return the columns of `holds`."""
    return {
        "hold_id": hold.hold_id,
        "admitted_at": iso(hold.admitted_at),
        "amount_nanos": hold.amount_nanos,
        "budget_ids": json_text(hold.budget_ids),
        "component": hold.component,
        "provider": hold.provider,
        "model": hold.model,
        "task_type": hold.task_type,
        "tags": json_text(hold.tags),
        "streamed": hold.streamed,
        "input_tokens_estimated": hold.input_tokens_estimated,
        "output_tokens_estimated": hold.output_tokens_estimated,
        "pricing_version": hold.pricing_version,
        "once_key": hold.once_key,
        "fingerprint": hold.fingerprint,
        "words": hold.words,
    }


def expired(row: Row) -> UsageRecord:
    """
    Return the record that an open hold (a row with JSON as text) becomes when its process died.

    The provider may have billed the call, so it costs what was held. Nothing held means that no price was known, or
    that the price is zero: which of the two is not known any more, so the cost is null rather than a quiet zero.
    """
    amount: int = min(row["amount_nanos"], CALL_NANOS_MAX)  # earlier versions held more
    return UsageRecord(
        record_id=row["hold_id"],
        timestamp=from_iso(row["admitted_at"]),
        component=row["component"],
        provider=row["provider"],
        model=row["model"],
        usage=Usage(input=row["input_tokens_estimated"], output=row["output_tokens_estimated"]),
        cost_basis="unconfirmed" if amount else "unpriced",
        cost_nanos=amount or None,
        input_cost_nanos=None,
        budget_ids=tuple(orjson.loads(row["budget_ids"])),
        task_type=row["task_type"],
        request_id=row["hold_id"],
        pricing_version=row["pricing_version"],
        estimated_nanos=amount,
        streamed=bool(row["streamed"]),
        status="crashed",
        once_key=row["once_key"],
        words=row["words"],
        tags=orjson.loads(row["tags"]),
    )


def budget_row(budget: Budget) -> dict[str, Any]:
    """Return the columns of `budgets`."""
    spec = budget.spec
    return {
        "budget_id": budget.budget_id,
        "name": spec.name,
        "hourly_limit": spec.hourly_limit,
        "daily_limit": spec.daily_limit,
        "weekly_limit": spec.weekly_limit,
        "monthly_limit": spec.monthly_limit,
        "total_limit": spec.total_limit,
        "spec": spec.model_dump_json(),
        "is_active": budget.is_active,
        "created_at": iso(budget.created_at),
        "updated_at": iso(budget.updated_at),
    }


def budget_from(row: Row) -> Budget:
    """Return the budget of a row whose ``spec`` is read. Raises ValueError or InvalidRequest for an invalid one."""
    return budget_of(
        BudgetSpec.model_validate(row["spec"]),
        budget_id=row["budget_id"],
        created_at=from_iso(row["created_at"]),
        updated_at=from_iso(row["updated_at"]),
        is_active=bool(row["is_active"]),
    )
