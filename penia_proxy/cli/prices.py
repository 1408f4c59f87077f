"""
``penia prices``: the price book, and the past at its prices.

Its one job: ask a gateway to read its prices again, or to price records again; or, where none runs, do the latter to
the ledger's file itself.
Rules: what changes is decided by `penia_proxy.budget.repricing`. A file that a gateway has open is refused, not shared.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli import price_show
from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url
from penia_proxy.cli.serve import ConfigPath, load
from penia_proxy.cli.usage import start_of
from penia_proxy.clock import SystemClock, iso

if TYPE_CHECKING:
    from penia_proxy.budget.record import UsageRecord
    from penia_proxy.config import Config

app = typer.Typer(name="prices", help="Show a price; read all again; price the past again.", no_args_is_help=True)
app.command()(price_show.show)

PATH = "/api/v1/prices"
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
Ask = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


@app.command()
def refresh(*, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Let the gateway read its prices again, and nothing else of its configuration."""
    from penia_proxy.cli import display

    answer = GatewayClient(url).post(PATH + "/refresh", {})
    if as_json:
        display.print_json(answer)
    elif answer["changed"]:
        display.console().print(display.name(f"prices in force: {answer['version']}"), soft_wrap=True)
    else:
        display.console().print(display.name(f"nothing has changed: {answer['version']}"), soft_wrap=True)


@app.command()
def reprice(
    *,
    since: Annotated[str, typer.Option(help="Records from then on: 30m, 24h, 7d, 4w, or a date in UTC.")],
    until: Annotated[str | None, typer.Option(help="To a date in UTC, which is inclusive. Default: now.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider's, as configured.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's, as recorded.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="No gateway runs: work on the ledger's file itself (see --config).")
    ] = False,
    config_path: ConfigPath = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """
    Append the difference where today's prices give records another cost.

    What a provider or a client has stated in money stays. A second run changes nothing.
    """
    from penia_proxy.cli import display

    if config_path is not None and not offline:
        raise typer.BadParameter("a running gateway has its own configuration: use it with --offline", param_hint="-c")
    now = SystemClock().now()
    body = {
        "since": iso(start_of(since, now)),
        "until": until or iso(now),
        "provider": provider,
        "model": model,
        "dry_run": dry_run,
    }
    if offline:
        found = asyncio.run(_on_the_file(load(config_path), body))
    else:
        found = asyncio.run(_to_the_end(_of_gateway(GatewayClient(url)), body))
    if as_json:
        display.print_json(found)
    else:
        _show(found)


def _of_gateway(gateway: GatewayClient) -> Ask:
    async def ask(body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = gateway.post(PATH + "/reprice", body)
        return answer

    return ask


async def _on_the_file(config: "Config", body: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the gateway would do. Raises ConfigError where one has the file, or there is none."""
    from pathlib import Path

    from pydantic import ValidationError

    from penia_proxy.api.repricing import RepriceBody, Repricing
    from penia_proxy.budget.prices import PriceBook
    from penia_proxy.errors import ConfigError
    from penia_proxy.ledger.file import path_of
    from penia_proxy.ledger.ledger import Ledger

    path = path_of(config.ledger.url)
    if not path.exists():
        raise ConfigError(f"{path} does not exist: start the gateway once, or correct ledger.url")
    directory = config.pricing.directory
    prices = PriceBook.load(Path(directory) if directory else None)
    clock = SystemClock()
    ledger = await Ledger.open(config.ledger, clock)

    async def counted(_record: "UsageRecord") -> None:
        """Nothing: the next start loads its counters from the file."""

    async def ask(body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            asked = RepriceBody.model_validate(dict(body))
        except ValidationError as error:
            raise typer.BadParameter(error.errors()[0]["msg"]) from None
        return await Repricing(config, prices, ledger, clock, counted).run(asked)

    try:
        return await _to_the_end(ask, body)
    finally:
        await ledger.close()


async def _to_the_end(ask: Ask, body: Mapping[str, Any]) -> dict[str, Any]:
    """Ask piece by piece; return the pieces as one answer."""
    lines: dict[tuple[str, str], Counter[str]] = {}
    kept: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    cursor = None
    while True:
        answer = await ask({**body, "cursor": cursor})
        for item in answer["items"]:
            line = lines.setdefault((item["provider"], item["model"]), Counter())
            line.update({key: value for key, value in item.items() if key not in {"provider", "model"}})
        kept.update(answer["kept"])
        figures.update(examined=answer["examined"], unchanged=answer["unchanged"])
        cursor = answer["next_cursor"]
        if cursor is None:
            items = [
                {"provider": name, "model": model, **_exact(line)} for (name, model), line in sorted(lines.items())
            ]
            return {**answer, "items": items, **figures, "kept": dict(kept)}


def _exact(line: Mapping[str, float]) -> dict[str, float]:
    """Return sums of amounts as the numbers that they are: to the nano-dollar."""
    return {key: round(value, 9) for key, value in line.items()}


WHY = {
    "stated": "stated in money by the provider or the client",
    "held": "at what was held: nobody knows what was used",
    "bill_to_come": "whose bill may still come",
    "corrected": "corrected by something else",
    "several_answers": "added up from several answers",
    "no_price": "without a known price",
    "changed_meanwhile": "changed meanwhile by another run",
}


def _show(found: Mapping[str, Any]) -> None:
    from penia_proxy.cli import display

    out = display.console()
    if found["items"]:
        table = display.table(
            "Provider", "Model", ("Records", "right"), ("Old", "right"), ("New", "right"), ("Difference", "right")
        )
        for item in found["items"]:
            table.add_row(
                display.name(item["provider"]),
                display.name(item["model"]),
                display.count(item["records"]),
                display.money(item["old_cost"]),
                display.money(item["new_cost"]),
                display.money(item["difference"]),
            )
        out.print(table)
    changed = sum(item["records"] for item in found["items"])
    done = "would change" if found["dry_run"] else "changed"
    out.print(f"{found['examined']:,} records looked at; {changed:,} {done}.")
    newly = sum(item["newly_priced"] for item in found["items"])
    if newly:
        out.print(f"{newly:,} of them had no price.")
    for why, number in found["kept"].items():
        out.print(f"{number:,} kept their cost: {WHY[why]}.")
