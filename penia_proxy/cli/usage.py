"""
``penia usage``: who spent what.

Its one job: the usage summary of a running gateway, by one attribute. Rule: everything is the gateway's own word.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url
from penia_proxy.clock import SystemClock, from_iso, iso

if TYPE_CHECKING:
    from rich.table import Table

UNITS_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class By(StrEnum):
    """What usage can be grouped by."""

    COMPONENT = "component"
    MODEL = "model"
    PROVIDER = "provider"
    TASK_TYPE = "task_type"


def start_of(since: str, now: datetime) -> datetime:
    """Return the instant that ``30m``, ``24h``, ``7d``, ``4w`` or a date means; anything else raises BadParameter."""
    span = re.fullmatch(r"(\d{1,5})([mhdw])", since)
    if span:
        return now - timedelta(seconds=int(span[1]) * UNITS_S[span[2]])
    try:
        start = from_iso(since)
    except ValueError:
        raise typer.BadParameter(f"{since!r} is neither 30m, 24h, 7d, 4w nor a date", param_hint="--since") from None
    if start >= now:
        raise typer.BadParameter(f"{since} is still to come", param_hint="--since")
    return start


def usage(
    *,
    by: Annotated[By, typer.Option(help="A line for each of these.")] = By.COMPONENT,
    since: Annotated[str, typer.Option(help="30m, 24h, 7d, 4w, or a date in UTC.")] = "7d",
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what was used and what it cost."""
    from penia_proxy.cli import display

    now = SystemClock().now()
    asked = {"start_time": iso(start_of(since, now)), "end_time": iso(now), "group_by": [by.value]}
    summary = GatewayClient(url).post("/api/v1/usage/summary", asked)
    if as_json:
        display.print_json(summary)
        return
    if summary["groups"].get(by.value):
        display.console().print(usage_table(summary, by))
        unpriced = sum(line["unpriced_requests"] for line in summary["groups"][by.value].values())
        if unpriced:
            display.console().print(f"* {unpriced:,} calls are not in the cost: no price is known for their model.")
    else:
        display.console().print(f"No usage in this time (--since {since}). See penia status, or change --since.")


def usage_table(summary: Mapping[str, Any], by: By) -> "Table":
    """Return a usage summary as a table, dearest first."""
    from penia_proxy.cli import display

    groups: dict[str, Any] = summary["groups"][by.value]
    total = summary["total_cost"]
    table = display.table(
        by.value, ("Calls", "right"), ("Input", "right"), ("Output", "right"), ("Cost", "right"), ("Share", "right")
    )
    for title, line in sorted(groups.items(), key=lambda item: -item[1]["cost"]):
        table.add_row(
            display.name(title),
            display.count(line["count"]),
            display.count(line["input_tokens"]),
            display.count(line["output_tokens"]),
            display.money(line["cost"]) + ("*" if line["unpriced_requests"] else ""),
            display.share(100 * line["cost"] / total) if total else "",
        )
    table.add_section()
    table.add_row(
        "total",
        display.count(summary["request_count"]),
        display.count(summary["total_input_tokens"]),
        display.count(summary["total_output_tokens"]),
        display.money(total),
        "",
        style="bold",
    )
    return table
