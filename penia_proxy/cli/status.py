"""
``penia status``: how a running gateway is.

Its one job: health, and where every budget stands. Rule: all of it is the gateway's own word; nothing is computed here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url
from penia_proxy.cli.exits import FAILED

if TYPE_CHECKING:
    from rich.table import Table

UNHEALTHY = 503
"""``/health``'s status when it is not well; the body says how."""


def status(
    *, url: Url = DEFAULT_URL, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False
) -> None:
    """Show the health of a running gateway, and where its budgets stand."""
    from penia_proxy.cli import display

    gateway = GatewayClient(url)
    health = gateway.get("/health", accept=frozenset({UNHEALTHY}))
    budgets = standing(gateway)
    if as_json:
        display.print_json({"health": health, "budgets": budgets})
    else:
        out = display.console()
        colour = {"healthy": "green", "degraded": "yellow"}.get(health["status"], "red")
        out.print(
            f"[bold {colour}]{health['status']}[/]  {url}  version {health['version']}, "
            f"up {display.duration(health['uptime_seconds'])}\n"
            f"database {health['database']}, holds open {health['holds_open']}, "
            f"ledger queue {health['ledger_queue']}, live clients {health['websocket_clients']}{_files(health)}\n",
            soft_wrap=True,
        )
        if budgets:
            out.print(standing_table(budgets))
        else:
            out.print("No budgets yet: penia budgets create NAME --daily 5")
    if health["status"] == "unhealthy":
        raise SystemExit(FAILED)


def _files(health: Mapping[str, Any]) -> str:
    """Return how many archives there are, where there are any, and what is wrong with one or with the ledger."""
    from rich.markup import escape

    problems = [one for one in (health["ledger_error"], health["archive_error"]) if one is not None]
    said = f", archives {health['archives']}" if health["archives"] else ""
    return "\n".join([said, *(f"[red]{escape(one)}[/]" for one in problems)])


def standing(gateway: GatewayClient) -> list[dict[str, Any]]:
    """Return the active budgets, each with its summaries as ``periods``."""
    return [
        {**budget, "periods": gateway.get(f"/api/v1/budgets/{budget['budget_id']}/summary")}
        for budget in gateway.items("/api/v1/budgets", {"is_active": "true"})
    ]


def standing_table(budgets: list[dict[str, Any]]) -> "Table":
    """Return where budgets stand as a table: a line per limited period."""
    from penia_proxy.cli import display

    table = display.table(
        "Budget",
        "",
        "Period",
        ("Spent", "right"),
        ("Held", "right"),
        ("Limit", "right"),
        ("Left", "right"),
        ("Used", "right"),
    )
    for budget in budgets:
        title, enforcement = budget["name"], budget["enforcement"] + ("*" if budget["shadow"] else "")
        for line in budget["periods"]:
            percent = line["usage_percent"]
            table.add_row(
                display.name(title),
                enforcement,
                line["period"],
                display.money(line["spent"]),
                display.money(line["held"]),
                display.money(line["limit"]),
                display.money(line["remaining"]),
                display.cell(display.by_use(percent), display.share(percent)),
            )
            title = enforcement = ""
        if not budget["periods"]:
            table.add_row(display.name(title), enforcement, "no limit")
    return table
