"""
``penia export``: usage as a file.

Its one job: the records of a stretch of time, from a running gateway or from the ledger's file itself, to a file or to
stdout.
Rules: a file is there whole or not at all. Nothing but the file goes to stdout.
"""

import re
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url
from penia_proxy.cli.exits import FAILED, stop
from penia_proxy.cli.serve import ConfigPath, load
from penia_proxy.cli.usage import start_of
from penia_proxy.clock import SystemClock, from_iso, iso

if TYPE_CHECKING:
    from penia_proxy.config import FormatName

DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")

Take = Callable[[bytes], object]


class As(StrEnum):
    """What it can be written as."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    FOCUS = "focus"


Only = Annotated[str | None, typer.Option(help="Only this one's.")]


def export(
    config_path: ConfigPath = None,
    *,
    as_format: Annotated[As, typer.Option("--format", "-f", help="focus: FinOps FOCUS 1.4, as CSV.")] = As.CSV,
    since: Annotated[str | None, typer.Option(help="30m, 24h, 7d, 4w, or a date in UTC; without it, all.")] = None,
    until: Annotated[str | None, typer.Option(help="A date in UTC, inclusive, or an instant before which.")] = None,
    component: Only = None,
    provider: Only = None,
    model: Only = None,
    task_type: Only = None,
    budget_id: Only = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Without it, stdout.", metavar="FILE")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Read the ledger's file; no gateway need run.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Write usage records as CSV, JSON Lines, Parquet or FOCUS."""
    if output is None and as_format is As.PARQUET and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is nothing for a terminal: name a file", param_hint="--output")
    now = SystemClock().now()
    asked = {
        "component": component,
        "provider": provider,
        "model": model,
        "task_type": task_type,
        "budget_id": budget_id,
        "start_date": None if since is None else iso(start_of(since, now)),
        "end_date": None if until is None else iso(end_of(until)),
    }

    def write(to: Take) -> None:
        if direct:
            _from_file(load(config_path).ledger.url, as_format.value, asked, to)
        else:
            GatewayClient(url).download("/api/v1/usage/export", {"format": as_format.value, **asked}, to)

    if output is None:
        write(sys.stdout.buffer.write)
        sys.stdout.flush()
        return
    from penia_proxy.export.files import whole_file

    try:
        with whole_file(output) as file:
            write(file.write)
    except OSError as error:
        raise stop(f"{output} cannot be written: {error.strerror or error}", FAILED) from None


def end_of(until: str) -> datetime:
    """Return the instant before which the file ends; a date is inclusive. Raises BadParameter."""
    try:
        instant = from_iso(until)
    except ValueError:
        raise typer.BadParameter(f"{until!r} is neither a date nor an instant", param_hint="--until") from None
    return instant + timedelta(days=1) if DATE.fullmatch(until) else instant


def _from_file(url: str, name: "FormatName", asked: dict[str, str | None], to: Take) -> None:
    from penia_proxy.errors import NotInstalled
    from penia_proxy.export.formats import exported, format_of
    from penia_proxy.ledger.queries import RecordFilter

    def one(field: str) -> tuple[str, ...]:
        value = asked[field]
        return () if value is None else (value,)

    def instant(field: str) -> datetime | None:
        value = asked[field]
        return None if value is None else from_iso(value)

    try:
        written = format_of(name)
    except NotInstalled as error:
        raise stop(str(error), FAILED) from None
    wanted = RecordFilter(
        components=one("component"),
        providers=one("provider"),
        models=one("model"),
        task_types=one("task_type"),
        budget_id=asked["budget_id"],
        start=instant("start_date"),
        end=instant("end_date"),
    )
    with closing(exported(url, wanted, written)) as chunks:
        for chunk in chunks:
            to(chunk)
