"""
``penia estimates``: how good the estimates are.

Its one job: estimated against reported, per provider and model. Rule: all of it is the gateway's own word.
"""

from typing import Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url


def estimates(
    *, url: Url = DEFAULT_URL, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False
) -> None:
    """Show how far estimates are from what calls come to; 1.00 is right, 2.00 twice too much."""
    from penia_proxy.cli import display

    lines = list(GatewayClient(url).items("/api/v1/estimates"))
    if as_json:
        display.print_json(lines)
        return
    if not lines:
        display.console().print("No call has ended yet.")
        return
    table = display.table(
        "Provider",
        "Model",
        ("Calls", "right"),
        ("Input", "right"),
        ("p95", "right"),
        ("Cost", "right"),
        ("p95", "right"),
    )
    for line in lines:
        tokens, cost = line["input_tokens"], line["cost"]
        table.add_row(
            display.name(line["provider"]),
            display.name(line["model"]),
            display.count(max(tokens["samples"], cost["samples"])),
            *(_ratio(spread[key]) for spread in (tokens, cost) for key in ("p50", "p95")),
        )
    display.console().print(table)


def _ratio(value: Any) -> str:
    return "–" if value is None else f"{value:,.2f}"
