"""
``penia prices show``: one model's price, as a person reads it.

Its one job: the answer of `/api/v1/prices/details` in a terminal: every unit, tier and dated entry, where each comes
from, and what an example call costs. Rule: everything is the gateway's own word.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_BY_TIER = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", "requests_kcount")
"""Columns of the tiers' table, where any tier has them."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def show(
    model: Annotated[str, typer.Argument(help="As a call names it.")],
    *,
    at: Annotated[str | None, typer.Option(help="A date or an instant in UTC. Default: now.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="As configured, or a catalogue's name. Default: whoever has the model.")
    ] = None,
    input_tokens: Annotated[int, typer.Option(min=0, help="Of the example call.")] = 10_000,
    output_tokens: Annotated[int, typer.Option(min=0, help="Of the example call.")] = 1_000,
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a model costs: every unit and tier, since when, who says so, and what an example call costs."""
    from penia_proxy.cli import display

    asked = {
        "model": model,
        "provider": provider,
        "at": at,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    found = GatewayClient(url).get("/api/v1/prices/details", query=asked)
    if as_json:
        display.print_json(found)
        return
    out = display.console()
    out.print(
        display.name(f"at {found['at'][:16].replace('T', ' ')} UTC, by {found['pricing_version']}"),
        style="dim",
        soft_wrap=True,
    )
    for item in found["items"]:
        out.print()
        _show(out, found, item)


def _show(out: "Console", found: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    from penia_proxy.cli import display

    standard = item["contexts"][0]
    title = f"{found['model']} at {item['provider']}"
    if item["model"] != found["model"]:
        title += f", priced as {item['model']}"
    out.print(display.name(title), style="bold", soft_wrap=True)
    if not item["by_name"]:
        out.print("Known by a pattern only, which takes other names as well.")
    _prices(out, standard["prices"])
    for unit, least in item["at_least"].items():
        out.print(display.name(f"A call with any {unit} is billed for {least:,} at least."))
    example = f"{found['input_tokens']:,} tokens in and {found['output_tokens']:,} out"
    cost = standard["example_cost"]
    out.print("Tokens have no price here." if cost is None else f"A call of {example} costs {amount(cost)}.")
    if len(item["contexts"]) > 1:
        out.print()
        _tiers(out, item["contexts"], example)
    if len(item["history"]) > 1 or any(stretch["varies"] for stretch in item["history"]):
        out.print()
        _history(out, item["history"])
    if item["entries"]:
        out.print()
        _entries(out, item["entries"])


def amount(usd: float | None) -> str:
    """Return an exact price: ``$0.025``, ``$15``, ``$0.0000005``."""
    if usd is None:
        return "–"
    return "$" + f"{usd:.12f}".rstrip("0").rstrip(".")


def _prices(out: "Console", prices: Mapping[str, Any]) -> None:
    from penia_proxy.cli import display

    table = display.table("Price", ("USD", "right"), "for", "from")
    for key, price in prices.items():
        per = f"{price['per']:,}" if price["per"] != 1 else "each"
        table.add_row(key, amount(price["cost"]), per, price["source"])
        for tier in price["tiers"]:
            table.add_row("", amount(tier["cost"]), display.cell("dim", f"above {tier['above']:,} tokens in"), "")
    out.print(table)


def _tiers(out: "Console", contexts: list[dict[str, Any]], example: str) -> None:
    from penia_proxy.cli import display

    columns = [key for key in SHOWN_BY_TIER if any(key in context["prices"] for context in contexts)]
    table = display.table("An answer that says", *((key, "right") for key in columns), ("Example", "right"))
    for context in contexts:
        prices = context["prices"]
        cells = [amount(prices[key]["cost"]) if key in prices else "–" for key in columns]
        table.add_row(display.name(_context(context)), *cells, amount(context["example_cost"]))
    out.print(table)
    out.print(f"The example is {example}.", style="dim")


def _context(context: Mapping[str, Any]) -> str:
    names = ("service_tier", "speed", "inference_geo", "search_size")
    said = [f"{name.rpartition('_')[2]} {context[name]}" for name in names if context[name]]
    return ", ".join(said) or "nothing (standard)"


def _history(out: "Console", stretches: list[dict[str, Any]]) -> None:
    from penia_proxy.cli import display

    table = display.table("From (UTC)", "to", ("input_mtok", "right"), ("output_mtok", "right"), "source", "")
    for stretch in stretches:
        prices = stretch["prices"]
        cells = [amount(prices[key]["cost"]) if key in prices else "–" for key in ("input_mtok", "output_mtok")]
        varies = "others at some hours or days" if stretch["varies"] else ""
        first, last = stretch["start_date"] or "ever", stretch["end_date"] or "now"
        table.add_row(first, last, *cells, stretch["source"], display.cell("dim", varies))
    out.print(table)


def _entries(out: "Console", entries: list[dict[str, Any]]) -> None:
    from penia_proxy.cli import display

    out.print("Entries of pricing/ about it; what applies is marked:")
    for entry in entries:
        mark = display.cell("green", "● ") if entry["applies"] else display.cell("dim", "○ ")
        out.print(mark, display.name(_entry(entry)), sep="", soft_wrap=True)
        out.print("  ", display.name(entry["source"]), sep="", style="dim", soft_wrap=True)


def _entry(entry: Mapping[str, Any]) -> str:
    parts = [entry["matches"]]
    if entry["start_date"]:
        parts.append(f"from {entry['start_date']}")
    if entry["days"]:
        parts.append("on " + " ".join(DAYS[day] for day in entry["days"]))
    parts += [f"{name} {value}" for name, value in entry["when"].items()]
    says = [f"{key} {words}" for key, words in entry["prices"].items()]
    if entry["multiply"] is not None:
        says.append(f"every token price × {entry['multiply']:g}")
    if entry["only_if_missing"]:
        says.append("unless the catalogue has it")
    return ", ".join(parts) + (": " + "; ".join(says) if says else "")
