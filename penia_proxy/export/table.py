"""
Lay records out as a table.

Its one job: the columns that CSV and Parquet have, which are the members of a record as the API shows it, and the rows
of CSV.
Rules: money is exact: decimal text, never a float's. What is not known is empty, and never 0.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from penia_proxy.budget.money import usd_text
from penia_proxy.budget.record import UsageRecord
from penia_proxy.watch.shapes import record_json

Kind = Literal["text", "integer", "usd", "real", "boolean", "instant", "json"]
Pages = Iterable[Sequence[UsageRecord]]

COLUMNS: Mapping[str, Kind] = {
    "record_id": "text",
    "budget_id": "text",
    "component": "text",
    "provider": "text",
    "model": "text",
    "task_type": "text",
    "input_tokens": "integer",
    "cache_read_tokens": "integer",
    "cache_write_tokens": "integer",
    "output_tokens": "integer",
    "reasoning_tokens": "integer",
    "total_tokens": "integer",
    "input_cost": "usd",
    "output_cost": "usd",
    "cost": "usd",
    "total_cost": "usd",
    "cost_basis": "text",
    "pricing_version": "text",
    "estimated_cost": "usd",
    "streamed": "boolean",
    "status": "text",
    "latency_ms": "real",
    "ttft_ms": "real",
    "timestamp": "instant",
    "request_id": "text",
    "tags": "json",
    "corrects": "text",
    "metadata": "json",
}


def nanos_of_record(record: UsageRecord) -> dict[str, int | None]:
    """Return the columns of money, in nano-dollars."""
    cost, input_cost = record.cost_nanos, record.input_cost_nanos
    return {
        "input_cost": input_cost,
        "output_cost": None if cost is None or input_cost is None else cost - input_cost,
        "cost": cost,
        "total_cost": cost,
        "estimated_cost": record.estimated_nanos,
    }


def lines(pages: Pages) -> Iterator[bytes]:
    """Yield JSON Lines: each record as the API shows it."""
    for page in pages:
        yield b"".join(orjson.dumps(record_json(record), option=orjson.OPT_APPEND_NEWLINE) for record in page)


def separated(pages: Pages) -> Iterator[bytes]:
    """Yield CSV (RFC 4180): the names, then a line for each record."""
    yield csv_bytes([list(COLUMNS)])
    for page in pages:
        yield csv_bytes([_cells(record) for record in page])


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows of text as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cells(record: UsageRecord) -> list[str]:
    shown: dict[str, Any] = {**record_json(record), **nanos_of_record(record)}
    return [_cell(kind, shown[name]) for name, kind in COLUMNS.items()]


def _cell(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    match kind:
        case "usd":
            return usd_text(value)
        case "json":
            return orjson.dumps(value).decode()
        case "boolean":
            return "true" if value else "false"
        case _:
            return str(value)
