"""
``penia reconcile``: what a provider billed against what was captured.

Its one job: a provider's report of costs, out of files, compared by a running gateway. Rules: everything that is shown
is the gateway's own word; exit code 1 where the two are so far apart that somebody should look.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url
from penia_proxy.cli.exits import FAILED, UNUSABLE, stop

if TYPE_CHECKING:
    from rich.table import Table


def reconcile(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="OpenAI's costs or Anthropic's cost report: JSON, a page a file; - is stdin.", metavar="FILE"
        ),
    ],
    *,
    provider: Annotated[str | None, typer.Option(help="As configured, where it has another name.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Compare a provider's report of costs with what was captured; exit 1 if they are far apart."""
    from penia_proxy.cli import display

    pages: list[Any] = []
    for file in files:
        page = _read(file)
        pages.extend(page if isinstance(page, list) else [page])
    asked = {"report": pages, **({} if provider is None else {"provider": provider})}
    found = GatewayClient(url).post("/api/v1/reconciliations", asked)
    if as_json:
        display.print_json(found)
    else:
        out = display.console()
        out.print(lines_table(found))
        if not found["is_whole"]:
            out.print("The report says that more pages follow: give all of them.")
        if found["drifts"]:
            out.print("What was captured is not what was billed. Calls past the gateway, or a price that is wrong?")
    if found["drifts"]:
        raise SystemExit(FAILED)


def _read(file: Path) -> Any:
    try:
        return json.loads(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except OSError as error:
        raise stop(f"{file} cannot be read: {error.strerror or error}", UNUSABLE) from None
    except ValueError:
        raise stop(f"{file} is not JSON", UNUSABLE) from None


def lines_table(found: dict[str, Any]) -> "Table":
    """Return a line for each day and model."""
    from penia_proxy.cli import display

    table = display.table(
        "Day", "Model", ("Calls", "right"), ("Billed", "right"), ("Captured", "right"), ("Rate", "right")
    )
    for line in found["lines"]:
        table.add_row(
            line["day"],
            display.name(line["model"] or "(not said)"),
            display.count(line["requests"]),
            display.money(line["billed"]),
            display.money(line["captured"]) + ("*" if line["unpriced_requests"] else ""),
            _rate(line["capture_rate"]),
        )
    table.add_section()
    table.add_row(
        *("total", "", "", display.money(found["billed"]), display.money(found["captured"])),
        _rate(found["capture_rate"]),
        style="bold",
    )
    return table


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f}%"
