"""
``penia check``: the configuration, without starting anything.

Its one job: load what a start would load, and sum it up or say what is wrong. Rules: nothing is opened, bound or sent;
no key and no password is shown.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penia_proxy.cli.serve import ConfigPath, load

if TYPE_CHECKING:
    from penia_proxy.budget.prices import PriceBook
    from penia_proxy.config import BudgetSpec, Config, ProviderConfig


def check(config_path: ConfigPath = None) -> None:
    """Load the configuration and the price book; sum up, or list every problem and exit with 2."""
    from pathlib import Path

    from penia_proxy.budget.prices import PriceBook
    from penia_proxy.cli import display
    from penia_proxy.gateway.signing import signer_of

    config = load(config_path)
    for name, provider in config.providers.items():
        signer_of(name, provider)
    directory = config.pricing.directory
    prices = PriceBook.load(Path(directory) if directory else None)
    out = display.console()
    for title, lines in _parts(config, prices):
        for line in lines:
            out.print(display.cell("bold", f"{title:<10}"), display.name(line), soft_wrap=True)
            title = ""  # noqa: PLW2901 - the title stands before the first line only
    for warning in _warnings(config, prices):
        out.print(display.cell("yellow", "warning   "), display.name(warning), soft_wrap=True)
    out.print(display.cell("green", "The configuration is good."))


def _parts(config: "Config", prices: "PriceBook") -> Iterator[tuple[str, list[str]]]:
    server, ledger = config.server, config.ledger
    yield "listens on", [f"{server.host}:{server.port}"]
    yield (
        "limits",
        [f"bodies {server.max_body_mb:g} MB in {server.body_timeout_s:g} s, drain {server.drain_seconds:g} s"],
    )
    yield "ledger", [f"{_without_password(ledger.url)}, durability {ledger.durability}"]
    yield "prices", [prices.version]
    yield (
        "providers",
        [
            f"{name}: {provider.format}, {_without_password(provider.base_url)}, " + _who_pays(provider)
            for name, provider in config.providers.items()
        ],
    )
    yield "budgets", [_budget(budget) for budget in config.budgets] or ["none"]


def _who_pays(provider: "ProviderConfig") -> str:
    if provider.aws is not None:
        return f"signed by Penia for {provider.aws_region}"
    return "key configured" if provider.api_key else "the caller's own key"


def _budget(budget: "BudgetSpec") -> str:
    from penia_proxy.cli import budgets

    fields = budget.model_dump(mode="json")
    return f"{budget.name}: {budgets.summed_up({**fields, 'is_active': True})}"


def _warnings(config: "Config", prices: "PriceBook") -> Iterator[str]:
    if not config.providers:
        yield "no provider is configured: every call will be refused"
    if not config.budgets:
        yield "no budget is configured: the first start creates none, and every call passes unlimited"
    for name, provider in config.providers.items():
        catalogue = provider.prices or name
        if catalogue not in prices.providers:
            yield f"no price is known for {catalogue}: calls to {name} are unpriced (see providers.{name}.prices)"
    if prices.refused:
        yield f"{len(prices.refused)} catalogue entries have absurd prices and count as unpriced"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":…@") if parts.password else url
