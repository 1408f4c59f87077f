"""
``penia recommend``: what a component's calls would cost elsewhere.

Its one job: a running gateway's recommendations as a table. Rule: everything is the gateway's own word.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url


def recommend(
    component: Annotated[str | None, typer.Argument(help="Whose calls; default: everybody's.")] = None,
    *,
    model: Annotated[str | None, typer.Option(help="The present model; default: where most money goes.")] = None,
    needs: Annotated[
        list[str] | None, typer.Option("--need", help="vision, tools, json or reasoning; may be repeated.")
    ] = None,
    min_context: Annotated[int, typer.Option(help="The least input tokens that it must take.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Models to show.")] = 10,
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """
    Show which models could do the same work, and what the last calls would have cost there.

    What a record does not say of its call (tools, pictures) has to be named: --need. How good answers are is not known.
    """
    from penia_proxy.cli import display

    body = {
        "component": component,
        "model": model,
        "needs": needs or [],
        "min_context": min_context,
        "limit": limit,
    }
    found = GatewayClient(url).post("/api/v1/prices/recommend", body)
    if as_json:
        display.print_json(found)
    else:
        _show(found)


def _show(found: Mapping[str, Any]) -> None:
    from penia_proxy.cli import display

    out = display.console()
    evidence = found["evidence"]
    if evidence is None:
        out.print("No calls to go by. See penia usage.")
        return
    present = f"{found['current_provider']} {found['current_model']}"
    out.print(
        display.name(
            f"{evidence['calls']:,} calls to {present}: {display.money(found['current_cost'])} a call, of"
            f" {evidence['input_tokens']:,.0f} tokens in ({evidence['cache_read_tokens']:,.0f} cached) and"
            f" {evidence['output_tokens']:,.0f} out"
        ),
        soft_wrap=True,
    )
    table = display.table("Provider", "Model", ("A call", "right"), ("Savings", "right"), ("Context", "right"))
    for item in found["items"]:
        table.add_row(
            display.name(item["provider"]),
            display.name(item["model"]),
            display.money(item["estimated_cost"]),
            display.share(item["savings_percent"]),
            "–" if item["context_window"] is None else display.count(item["context_window"]),
        )
    out.print(table if found["items"] else "No model is known to do the same.")
    for tip in found["optimization_tips"]:
        out.print(display.name(f"* {tip}"), soft_wrap=True)
    unknown = found["left_out"].get("facts_unknown", 0)
    if unknown:
        out.print(f"{unknown:,} models are left out, as it is not stated what they can do.")
